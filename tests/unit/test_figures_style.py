"""The one look: numbers for people, colours in order, labels that keep apart, nothing global."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from simulated import demo_runs

from isoloss.figures import learning_curves, panels
from isoloss.figures.labels import Label, label_line_ends, place_labels
from isoloss.figures.style import (
    RAMP,
    count_axis,
    flops_axis,
    loss_axis,
    percent_axis,
    power_of_ten,
    ramp_colours,
    short_number,
    signed,
    spread,
)

mpl = pytest.importorskip("matplotlib")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (800, "800"),
        (1_000, "1K"),
        (1_540, "1.54K"),
        (999_999, "1M"),
        (10_000_000, "10M"),
        (7e10, "70B"),
        (1.4e12, "1.4T"),
        (3e17, "3×10¹⁷"),  # noqa: RUF001
    ],
)
def test_counts_are_written_as_people_read_them(value: float, text: str) -> None:
    assert short_number(value) == text


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (1e21, 2, "10²¹"),
        (3.2e11, 2, "3.2×10¹¹"),  # noqa: RUF001
        (1.452e11, 3, "1.45×10¹¹"),  # noqa: RUF001
        (9.99e20, 2, "10²¹"),
        (2e-3, 2, "2×10⁻³"),  # noqa: RUF001
    ],
)
def test_compute_is_written_as_a_power_of_ten(value: float, digits: int, text: str) -> None:
    assert power_of_ten(value, digits) == text


def test_signs_are_true_minuses_and_zero_has_none() -> None:
    assert signed(0.0) == "0"
    assert signed(0.5) == "+0.5"
    assert signed(-1.25) == "\N{MINUS SIGN}1.25"


def test_the_ramp_follows_the_logarithm_and_keeps_order() -> None:
    assert ramp_colours([1e3, 1e5, 1e4]) == [RAMP[0], RAMP[-1], RAMP[4]]
    assert ramp_colours([7.0, 7.0]) == [RAMP[4], RAMP[4]]


def test_spread_moves_intervals_apart_and_no_further_than_it_must() -> None:
    wanted, heights = [5.0, 5.0, 9.0, 20.0], [2.0, 2.0, 4.0, 2.0]
    placed = spread(wanted, heights)
    assert placed[3] == 20.0
    gaps = np.diff(placed)
    assert np.all(gaps >= np.array([2.0, 3.0, 3.0]) - 1e-12)
    # three that touch move as one block, so their mean does not
    assert np.mean(placed[:3]) == pytest.approx(np.mean(wanted[:3]))
    assert spread([], []).size == 0
    shuffled = spread([9.0, 5.0, 20.0, 5.0], [4.0, 2.0, 2.0, 2.0])
    assert sorted(shuffled) == pytest.approx(sorted(placed))


@pytest.mark.parametrize("limits", [(9e2, 1.1e6), (2e5, 9e6), (3.1e5, 4.9e5), (1e3, 1e16)])
def test_count_axes_have_round_ticks_at_every_range(limits: tuple[float, float]) -> None:
    ax = panels()[0]
    ax.set_xscale("log")
    ax.set_xlim(*limits)
    count_axis(ax.xaxis, "parameters")
    ticks = ax.get_xticks()
    assert 2 <= len(ticks) <= 16
    assert all(float(f"{tick:.1e}") == pytest.approx(tick) for tick in ticks)
    assert ax.get_xlabel() == "parameters"


def test_flops_and_loss_and_percent_axes_are_labelled() -> None:
    ax = panels()[0]
    ax.set_xlim(2e10, 8e11)
    ax.set_ylim(1.4, 5.6)
    flops_axis(ax.xaxis)
    loss_axis(ax.yaxis)
    ax.figure.draw_without_rendering()
    assert ax.get_xscale() == ax.get_yscale() == "log"
    assert "10¹¹" in [text.get_text() for text in ax.get_xticklabels()]
    assert "2.0" in [text.get_text() for text in ax.get_yticklabels()]
    other = panels()[0]
    other.set_ylim(-0.02, 0.02)
    percent_axis(other.yaxis, "error")
    other.figure.draw_without_rendering()
    assert "0 %" in [text.get_text() for text in other.get_yticklabels()]


def test_a_label_that_would_cover_another_or_a_mark_is_left_out() -> None:
    ax = panels()[0]
    ax.set_xlim(0, 10)
    ax.set_ylim(0, 10)
    labels = [Label(5, 5, "first"), Label(5.05, 5.05, "covered"), Label(5, 1, "on a mark")]
    place_labels(ax, labels, clear_of=[(5.5, 1.0)])
    assert [text.get_text() for text in ax.texts] == ["first"]
    place_labels(ax, [Label(2, 8, "twice"), Label(2, 2, "twice")])
    assert [text.get_text() for text in ax.texts] == ["first", "twice"]
    place_labels(ax, labels[:2], everything=True)
    assert len(ax.texts) == 4


def test_line_ends_are_named_apart() -> None:
    ax = panels()[0]
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 10)
    label_line_ends(ax, [(1, 5, "a", "k"), (1, 5, "b", "k"), (1, 5, "c\nc", "k")])
    heights = sorted(text.get_position()[1] for text in ax.texts)
    assert heights[1] - heights[0] >= 9.9
    assert heights[2] - heights[1] >= 14.9


def test_drawing_changes_no_setting_and_never_loads_pyplot() -> None:
    before = dict(mpl.rcParams)
    learning_curves(demo_runs())
    assert dict(mpl.rcParams) == before
    code = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from simulated import demo_runs\n"
        "from isoloss.figures import learning_curves, inline_svg\n"
        "assert 'matplotlib' not in sys.modules\n"
        "inline_svg(learning_curves(demo_runs()), 'a', 'b')\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    root = __file__.rsplit("tests", 1)[0]
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, cwd=root)
