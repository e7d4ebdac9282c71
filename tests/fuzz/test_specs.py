"""A short run of the spec fuzzer; the long one is `python -m tests.fuzz.specs`."""

from __future__ import annotations

from tests.fuzz import specs
from tests.fuzz.feeding import feed


def test_a_hundred_specs_that_nobody_meant_end_in_words() -> None:
    assert feed(specs.make, specs.sound, inputs=100, seed=0) == []
