"""Loading without the garbage collector, which runs again afterwards."""

from __future__ import annotations

import gc
import weakref

import pytest

from raydarts.loading import loading


class Node:
    """An object that holds itself."""

    def __init__(self) -> None:
        self.itself = self


def test_garbage_is_collected_again_after_loading() -> None:
    with loading():
        assert not gc.isenabled()
    assert gc.isenabled()
    later = weakref.ref(Node())
    gc.collect()
    assert later() is None
    gc.unfreeze()


def test_the_collector_stays_off_where_it_was_off_and_comes_back_after_an_error() -> None:
    with pytest.raises(ImportError), loading():
        raise ImportError
    assert gc.isenabled()
    gc.disable()
    try:
        with loading():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()
