"""darts_plus: two criteria."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_search import SPACE, remedy, report, space, tiny_search

from raydarts.errors import InputError
from raydarts.search.moments import Stop
from raydarts.search.regularizers.darts_plus import ranking
from raydarts.spaces import Genotype, Space

pytestmark = pytest.mark.usefixtures("one_thread")


def genotype(skips: int, in_reduce: int = 0) -> Genotype:
    def cell(count: int) -> list[list[Any]]:
        return [["skip_connect" if edge < count else "sep_conv_3x3", edge % 2] for edge in range(8)]

    plain = {"normal": cell(skips), "normal_concat": [2, 3, 4, 5], "reduce": cell(in_reduce)}
    return Genotype.from_json({**plain, "reduce_concat": [2, 3, 4, 5]})


def weights_of(found: Space, value: float = 0.0) -> dict[str, torch.Tensor]:
    return {name: torch.full(cell.alpha_shape, value) for name, cell in found.cells.items()}


def asked(remedy_: Any, skips: list[int], in_reduce: int = 0) -> tuple[int, Stop] | None:
    """The epoch in which it stops, shown genotypes with so many skip connections."""
    cnn = space("darts-cnn")
    seen: list[Genotype] = []
    for epoch, count in enumerate(skips, 1):
        seen.append(genotype(count, in_reduce))
        shown = report(epoch, space=cnn, arch_weights=weights_of(cnn), genotypes=tuple(seen))
        if (stop := remedy_.should_stop(shown)) is not None:
            return epoch, stop
    return None


def test_criterion_1_counts_the_normal_cells_skips() -> None:
    only = {"stable_epochs": None}
    epoch, stop = asked(remedy("darts_plus", **only), [0, 1, 1, 2, 5])  # type: ignore[misc]
    assert (epoch, stop.epoch, stop.reason) == (4, None, "2 skip connections in the normal cell after epoch 4")
    assert asked(remedy("darts_plus", **only, max_skips=6), [0, 1, 1, 2, 5]) is None
    assert asked(remedy("darts_plus", **only), [0, 1, 1], in_reduce=8) is None
    assert asked(remedy("darts_plus", **only, min_epochs=5), [3, 2, 1, 2, 5])[0] == 5  # type: ignore[index]
    assert asked(remedy("darts_plus", max_skips=None, stable_epochs=None), [8] * 20) is None


def test_genotype_before_returns_the_previous_epochs_genotype() -> None:
    before = {"stable_epochs": None, "genotype": "before"}
    assert asked(remedy("darts_plus", **before), [0, 1, 3])[1].epoch == 2  # type: ignore[index]
    assert asked(remedy("darts_plus", **before), [3])[1].epoch is None  # type: ignore[index]


def test_only_cell_type_is_counted_without_a_normal_cell() -> None:
    nb201 = space("nasbench201")
    plus = remedy("darts_plus", stable_epochs=None, max_skips=3)
    text = "|skip_connect~0|+|none~0|skip_connect~1|+|{}~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    for last, expected in (("none", None), ("skip_connect", "3 skip connections in the cell cell after epoch 1")):
        found = Genotype.from_json(text.format(last))
        stop = plus.should_stop(report(1, space=nb201, arch_weights=weights_of(nb201), genotypes=(found,)))
        assert (None if stop is None else stop.reason) == expected


def test_the_ranking_is_of_candidates_with_weights_by_hand() -> None:
    nb201 = space("nasbench201")
    assert nb201.cells["cell"].candidates[0] == ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
    rows = [[9.0, 8, 1, 2, 7], [0, 0, 2, 1, 0], [1, 1, 1, 1, 1], [0, 0, 0, 5, 9], [5, 0, 3, 0, 0], [0, 0, 0, 0, 1]]
    weights = {"cell": torch.tensor(rows)}
    by_hand = [[3, 2], [2, 3], [2, 3], [3, 2], [2, 3], [2, 3]]
    assert ranking(report(1, space=nb201, arch_weights=weights)) == by_hand
    per_layer = {"cell": torch.stack([weights["cell"], -weights["cell"]])}
    reverse = [[2, 3], [3, 2], [2, 3], [2, 3], [3, 2], [2, 3]]
    assert ranking(report(1, space=nb201, arch_weights=per_layer)) == by_hand + reverse


def ranked(plus: Any, orders: str, first: int = 1) -> int | None:
    """The epoch in which it stops where one edge's two convolutions rank as said: `a` or `b`."""
    nb201 = space("nasbench201")
    found = Genotype.from_json("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")
    for epoch, order in enumerate(orders, first):
        weights = weights_of(nb201)
        weights["cell"][4, 2 if order == "a" else 3] = 1.0
        weights["cell"][2, 1] = float(epoch % 3)  # a skip connection, whose rank moves but does not count
        if plus.should_stop(report(epoch, space=nb201, arch_weights=weights, genotypes=(found,) * epoch)) is not None:
            return epoch
    return None


def test_criterion_2_waits_until_the_ranking_was_the_same_for_so_many_epochs() -> None:
    assert ranked(remedy("darts_plus"), "a" * 9) is None
    assert ranked(remedy("darts_plus"), "a" * 12) == 10
    assert ranked(remedy("darts_plus"), "aaaaab" + "a" * 10) == 16
    assert ranked(remedy("darts_plus", stable_epochs=3), "aababbba") == 7
    assert ranked(remedy("darts_plus", stable_epochs=3, min_epochs=6), "aaaaaaa") == 6
    assert ranked(remedy("darts_plus", stable_epochs=None), "a" * 30) is None
    assert ranked(remedy("darts_plus", stable_epochs=1), "a") == 1


def test_returning_to_an_epoch_removes_later_rankings() -> None:
    plus = remedy("darts_plus", stable_epochs=4)
    assert ranked(plus, "aaa") is None
    assert ranked(plus, "aaa", first=2) == 4  # a second and third epoch done again, and a fourth


def test_state_dict_round_trip() -> None:
    plus = remedy("darts_plus", stable_epochs=4)
    assert ranked(plus, "baaa") is None
    fresh = remedy("darts_plus", stable_epochs=4)
    fresh.load_state_dict(plus.state_dict())
    assert fresh.state_dict() == plus.state_dict()
    assert ranked(fresh, "a", first=5) == 5


def test_a_space_without_a_ranking_is_refused() -> None:
    for name in ("darts-cnn", "nasbench201", "robust_s1"):
        remedy("darts_plus").check(space(name), 50)
    for name in ("robust_s2", "robust_s3", "robust_s4"):
        with pytest.raises(InputError, match="no ranking to watch; set stable_epochs to null"):
            remedy("darts_plus").check(space(name), 50)
        remedy("darts_plus", stable_epochs=None).check(space(name), 50)


def test_a_search_ends_when_its_genotype_has_too_many_skips() -> None:
    plus = {"name": "darts_plus", "max_skips": 3, "stable_epochs": None, "genotype": "before"}
    job = tiny_search(plus, epochs=4, space=SPACE | {"nodes": 2})
    job.run_epoch()
    assert not job.finished
    skip = job.space.cells["normal"].candidates[0].index("skip_connect")
    with torch.no_grad():
        job.alphas["normal"][:, skip] += 5.0
    job.run_epoch()
    assert job.finished
    assert job.result()["stopped_early"] == "4 skip connections in the normal cell after epoch 2"
    assert job.result()["genotype"] == job.genotypes[0].to_json()
