"""Nominal 90 % intervals hold the truth about 90 % of the time: slices of the coverage study.

The studies, their ten published truths and what is counted are those of
`benchmarks/interval_coverage.py`, whose full table is committed. Simulated throughout.
"""

from __future__ import annotations

import pytest
from _studies import TRUTHS
from interval_coverage import Block, block


def pooled(
    cell: tuple[str, int, float], truths: list[str], exact: int, studies: int
) -> list[Block]:
    return [block(*cell, truth, exact, studies) for truth in truths]


def share(blocks: list[Block], name: str) -> float:
    """Of all studies, so that a refusal is a miss."""
    return sum(getattr(one, name) for one in blocks) / sum(one.studies for one in blocks)


def test_a_slice_of_the_coverage_study() -> None:
    """40 exact studies: the standard error of a share of 0.9 is 0.047."""
    blocks = pooled(("isoflop", 16, 0.005), ["Besiroglu 2024", "Gadre 2024, C4"], 1, 20)
    assert sum(one.refused for one in blocks) == 0
    for name in ("size", "loss", "plain_run"):
        assert share(blocks, name) >= 0.78
    assert share(blocks, "model_run") >= 0.88


@pytest.mark.full
@pytest.mark.parametrize(
    "cell",
    [("isoflop", 16, 0.005), ("grid", 30, 0.002), ("ladder", 16, 0.005), ("isoflop", 60, 0.015)],
)
def test_exact_laws(cell: tuple[str, int, float]) -> None:
    """200 studies of ten truths: the standard error of a share of 0.9 is 0.021."""
    blocks = pooled(cell, list(TRUTHS), 1, 20)
    assert sum(one.refused for one in blocks) <= 20
    for name in ("size", "loss", "plain_run"):
        assert 0.82 <= share(blocks, name) <= 0.98
    assert share(blocks, "model_run") >= 0.86


@pytest.mark.full
def test_new_runs_of_laws_that_are_slightly_wrong() -> None:
    """100 studies at a smooth 0.5 % lack of fit and heavy tails, by the forecast model."""
    blocks = pooled(("grid", 30, 0.005), list(TRUTHS), 0, 10)
    assert share(blocks, "model_run") >= 0.82
