"""Losses along the context and on other corpora: what the records hold is what is drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from isoloss.counting import Shape, count_all
from isoloss.errors import InputError
from isoloss.figures import panels, position_curves, transfer_points
from isoloss.figures.style import RAMP
from isoloss.runs import HeldOutLosses, OtherLoss, Point, Run

pytest.importorskip("matplotlib")


def record(width: int, own: float, other: float) -> Run:
    at = np.arange(1, 65)
    losses = own + 2 * at**-0.6
    held_out = (
        HeldOutLosses("own", "ab", 9, own, by_position=tuple(losses.tolist())),
        HeldOutLosses("wiki", "cd", 9, other, by_position=(other,)),
    )
    points = (
        Point(1, 64, own + 1, others=(OtherLoss("wiki", other + 1),)),
        Point(9, 640, own, others=(OtherLoss("wiki", other),)),
    )
    n = count_all(Shape(n_layer=2, d_model=width, n_heads=2, vocab=256, n_ctx=64))
    return Run(f"r{width}", "", {}, {}, n, {}, {}, {}, {}, points, held_out=held_out)


RECORDS = [record(32, 2.0, 2.6), record(8, 3.0, 3.7)]


def test_losses_along_the_context_are_means_of_neighbours_with_their_fit() -> None:
    ax = panels()[0]
    assert position_curves(RECORDS, ax=ax) is ax
    ax.figure.draw_without_rendering()
    small, small_fit, large, large_fit = ax.get_lines()
    assert (small.get_color(), large.get_color()) == (RAMP[0], RAMP[-1])
    for line, fit, own in ((small, small_fit, 3.0), (large, large_fit, 2.0)):
        x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
        assert y[0] == pytest.approx(own + 2)
        assert 10 < len(x) < 30
        assert y == pytest.approx(own + 2 * x**-0.6, rel=0.01)
        assert fit.get_ydata() == pytest.approx(own + 2 * np.arange(1.0, 65) ** -0.6, rel=1e-6)
    assert len({text.get_text() for text in ax.texts}) == 2


def test_a_mark_is_a_run_on_another_corpus_and_the_line_its_way_there() -> None:
    ax = transfer_points(RECORDS)
    marks = {
        (float(line.get_xdata()[0]), float(line.get_ydata()[0]))
        for line in ax.get_lines()
        if line.get_marker() == "o"
    }
    assert marks == {(2.0, 2.6), (3.0, 3.7)}
    ways = [line.get_xydata().tolist() for line in ax.get_lines() if line.get_linewidth() == 0.7]
    assert sorted(ways) == [[[3.0, 3.6], [2.0, 2.6]], [[4.0, 4.7], [3.0, 3.7]]]
    assert {text.get_text() for text in ax.texts} == {"wiki", "equal"}


def test_records_without_such_losses_are_refused() -> None:
    old = replace(RECORDS[0], held_out=())
    with pytest.raises(InputError, match="train the runs again"):
        position_curves([old])
    with pytest.raises(InputError, match="on 'books' along the context"):
        position_curves(RECORDS, "books")
    with pytest.raises(InputError, match="give the runs eval_corpora"):
        transfer_points([old, replace(old, held_out=RECORDS[0].held_out[:1])])
