"""The picture of the walk: every step on its row, quoted and computed told apart."""

from __future__ import annotations

import pytest

from isoloss.figures import exponent_walks, panels
from isoloss.figures.style import PAPER
from isoloss.planning.walks.explain import explain

pytest.importorskip("matplotlib")


def test_every_step_has_its_point_and_its_interval() -> None:
    found = explain()
    ax = panels()[0]
    assert exponent_walks(found, ax=ax) is ax
    steps = [step for walk in found.walks for step in walk.steps]
    for how, marker in (("quoted", "o"), ("computed", "D")):
        drawn = [line for line in ax.lines if line.get_marker() == marker]
        wanted = [step.exponent.mid for step in steps if step.how == how]
        assert sorted(float(line.get_xdata()[0]) for line in drawn) == sorted(wanted)
        assert {line.get_markerfacecolor() == PAPER for line in drawn} == {how == "computed"}
    bars = [tuple(line.get_xdata()) for line in ax.lines if line.get_linewidth() == 1.6]
    intervals = [step.exponent[::2] for step in steps if step.exponent.low is not None]
    assert sorted(bars) == sorted(intervals)
    assert len(intervals) == 18


def test_walks_of_the_same_steps_share_rows_and_every_row_is_named() -> None:
    found = explain()
    ax = exponent_walks(found)
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names.count("head counted") == 1
    assert names.count("embeddings counted") == 2
    words = {text.get_text() for text in ax.texts}
    assert {"Kaplan 2020", "RefinedWeb", "OpenWebText2", "Besiroglu 2024"} <= words
    low, high = ax.get_ylim()
    points = [float(line.get_ydata()[0]) for line in ax.lines if line.get_marker() in "oD"]
    assert high < min(points) < max(points) < low
