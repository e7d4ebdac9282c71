"""A short run of the genotype fuzzer; the long one is `python -m tests.fuzz.genotypes`."""

from __future__ import annotations

from tests.fuzz import genotypes
from tests.fuzz.feeding import feed


def test_a_hundred_genotypes_that_nobody_meant_end_in_words() -> None:
    assert feed(genotypes.make, genotypes.sound, inputs=100, seed=0) == []
