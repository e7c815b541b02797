"""Every figure: takes axes and returns them, shows what it should, refuses what it cannot show."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from simulated import LAW, demo_runs, plain_runs

from isoloss.errors import InputError
from isoloss.figures import (
    backtest_errors,
    forecasts_and_outcomes,
    inline_svg,
    isoflop_curves,
    isoloss_contours,
    learning_curves,
    loss_against,
    panels,
    residuals,
    save_figure,
)
from isoloss.figures.style import HIT, MISS, RUN
from isoloss.figures.style import LAW as LAW_COLOUR
from isoloss.fitting import envelope, fit, isoflop
from isoloss.laws import Chinchilla, PowerLaw, published
from isoloss.runs import Runs
from isoloss.trust import Draws, Forecast, Outcome, Target, backtest, bootstrap, make_forecasts

pytest.importorskip("matplotlib")
RUNS = demo_runs()
BUDGETS = RUNS[np.char.startswith(RUNS.group, "isoflop")]


@pytest.fixture(scope="module")
def draws() -> Draws:
    return bootstrap(fit(Chinchilla, RUNS), draws=100, seed=0)


@pytest.fixture(scope="module")
def forecasts(draws: Draws) -> tuple[Forecast, ...]:
    targets = [Target("first", 6e4, 1.1e7, 7e12), Target("second $x^2$", 1e5, 4e6, 3.6e12)]
    return make_forecasts(draws, targets)


def words(ax: Any) -> str:
    return "\n".join(text.get_text() for text in ax.texts)


def colours(ax: Any) -> set[str]:
    return {str(line.get_color()) for line in ax.lines}


def test_each_figure_returns_the_axes_it_was_given(
    draws: Draws, forecasts: tuple[Forecast, ...]
) -> None:
    tested = backtest(Chinchilla, RUNS, draws=100)
    drawings = [
        lambda ax: learning_curves(RUNS, ax=ax),
        lambda ax: loss_against(RUNS, "n", draws, ax=ax),
        lambda ax: loss_against(RUNS, "c", ax=ax),
        lambda ax: isoflop_curves(isoflop(BUDGETS), BUDGETS, ax=ax),
        lambda ax: isoloss_contours(draws, RUNS, ax=ax),
        lambda ax: residuals(draws.fit, "d", ax=ax),
        lambda ax: forecasts_and_outcomes([], forecasts, ax=ax),
        lambda ax: backtest_errors(tested, ax=ax),
    ]
    for draw in drawings:
        ax = panels()[0]
        assert draw(ax) is ax
        ax.figure.draw_without_rendering()


def test_learning_curves_draw_every_run_and_a_falling_envelope() -> None:
    found = envelope(RUNS.curves)
    ax = learning_curves(RUNS, found)
    curves = [line for line in ax.lines if len(line.get_xdata()) == 8]
    assert len(curves) == len(RUNS)
    drawn = ax.lines[-1]
    assert np.all(np.diff(drawn.get_ydata()) <= 0)
    assert drawn.get_ydata()[-1] == pytest.approx(found.loss.min())
    assert "envelope" in words(ax)
    assert "213K" in words(ax)
    assert learning_curves(RUNS.curves).lines
    with pytest.raises(InputError, match="no learning curves"):
        learning_curves(plain_runs())


@pytest.mark.parametrize(("x", "other"), [("n", "d"), ("d", "n")])
def test_loss_against_a_resource_draws_the_law_with_the_other_unlimited(
    x: str, other: str, draws: Draws
) -> None:
    ax = loss_against(RUNS, x, LAW)  # type: ignore[arg-type]
    (limit, *_) = [line for line in ax.lines if line.get_color() == LAW_COLOUR]
    grid, losses = limit.get_xdata(), limit.get_ydata()
    term = LAW.A / grid**LAW.alpha if x == "n" else LAW.B / grid**LAW.beta
    assert losses == pytest.approx(LAW.E + term)
    assert "unlimited" in words(ax)
    assert not ax.patches  # a law alone has no band
    assert len(loss_against(RUNS, x, draws).patches) == 1  # type: ignore[arg-type]
    with pytest.raises(InputError, match="n"):
        loss_against(RUNS, "loss", LAW)  # type: ignore[arg-type]


def test_loss_against_compute_shows_frontier_forecasts_and_a_power_law(
    draws: Draws, forecasts: tuple[Forecast, ...]
) -> None:
    outcomes = [Outcome(forecasts[0], forecasts[0].mid, 0.01)]
    power = fit(PowerLaw, RUNS, x="c")
    ax = loss_against(RUNS, "c", draws, power=power, forecasts=forecasts, outcomes=outcomes)
    assert ax.get_xlim()[1] > 7e12
    assert {HIT, LAW_COLOUR, RUN} <= colours(ax)
    assert "slope \N{MINUS SIGN}0." in words(ax)
    assert "best split" in words(ax)
    bars = [line for line in ax.lines if line.get_linewidth() == 8]
    assert len(bars) == 2  # the one with an outcome is not drawn twice


def test_a_refused_budget_is_hollow_and_says_so() -> None:
    cut = BUDGETS[~((BUDGETS.c < 2e11) & (BUDGETS.n < 9e3))]
    found = isoflop(cut)
    assert [budget.usable for budget in found.budgets] == [False, True, True]
    ax = isoflop_curves(found, cut)
    assert "no minimum" in words(ax)
    minima = next(line for line in ax.lines if line.get_marker() == "D")
    assert list(minima.get_xdata()) == [budget.n_opt for budget in found.usable]
    points = [line for line in ax.lines if line.get_marker() == "o"]
    assert sum(len(line.get_xdata()) for line in points) == sum(b.runs for b in found.budgets)
    with pytest.raises(InputError, match="no budget"):
        isoflop_curves(replace(found, budgets=()), cut)


def test_isoflop_curves_of_many_budgets_name_only_some() -> None:
    c = np.repeat(np.geomspace(1e18, 1e21, 20), 6)
    n = np.tile(np.geomspace(0.2, 5, 6), 20) * (c / 60) ** 0.5
    runs = plain_runs().replace
    law = published.BESIROGLU_2024
    table = type(plain_runs())(n=n, d=c / (6 * n), loss=law(n, c / (6 * n)))
    assert runs is not None
    ax = isoflop_curves(isoflop(table), table)
    assert 4 <= words(ax).count("FLOPs") <= 7


def test_contours_hold_the_runs_the_frontier_and_the_target(draws: Draws) -> None:
    ax = isoloss_contours(draws, RUNS, flops=1e13)
    assert "efficient frontier" in words(ax)
    assert "target" in words(ax)
    low, high = ax.get_ylim()
    assert low < RUNS.n.min() < RUNS.n.max() < high
    assert ax.get_xlim()[1] > 1e13
    losses = [
        float(text.get_text()) for text in ax.texts if re.fullmatch(r"\d\.\d+", text.get_text())
    ]
    assert len(losses) >= 6
    assert len(set(losses)) == len(losses)
    assert isoloss_contours(published.HOFFMANN_2022, span=(1e18, 1e21)).lines
    assert isoloss_contours(LAW, flops=1e13).lines
    with pytest.raises(InputError, match="which compute"):
        isoloss_contours(LAW)


def test_the_frontier_lies_on_the_leftmost_points_of_the_contours() -> None:
    ax = isoloss_contours(LAW, span=(1e11, 1e14))
    frontier = next(line for line in ax.lines if line.get_color() == LAW_COLOUR)
    c, n = np.asarray(frontier.get_xdata()), np.asarray(frontier.get_ydata())
    best = LAW(n, c / (6 * n))
    for factor in (0.8, 1.25):
        assert np.all(LAW(factor * n, c / (6 * factor * n)) > best)


def test_residuals_are_measured_minus_fitted_in_per_cent() -> None:
    fake = SimpleNamespace(runs=plain_runs(), residuals=np.full(60, np.log(1 / 1.02)))
    ax = residuals(fake, "c")  # type: ignore[arg-type]
    dots = next(line for line in ax.lines if line.get_marker() == "o")
    assert np.asarray(dots.get_ydata()) == pytest.approx(2.0)
    few = SimpleNamespace(runs=plain_runs()[:5], residuals=np.zeros(5))
    assert LAW_COLOUR not in colours(residuals(few, "n"))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="drawn against"):
        residuals(fake, "lr")  # type: ignore[arg-type]


def test_the_running_median_never_splits_one_budget() -> None:
    fitted = fit(Chinchilla, RUNS)
    ax = residuals(fitted, "c")
    median = next(line for line in ax.lines if line.get_color() == LAW_COLOUR)
    assert np.all(np.diff(np.log(np.asarray(median.get_xdata()))) > 0.01)


def test_forecasts_say_in_words_and_shape_whether_they_held(
    forecasts: tuple[Forecast, ...],
) -> None:
    hit = Outcome(forecasts[0], forecasts[0].mid * 1.001, 0.004)
    miss = Outcome(forecasts[1], forecasts[1].high * 1.05)
    ax = forecasts_and_outcomes([hit, miss])
    said = words(ax)
    assert "inside, +0.1 %" in said
    assert "outside, +" in said
    names = [text.get_text() for text in ax.texts if "tokens" in text.get_text()]
    assert names[0].startswith("second $x^2$")  # cheaper first, and dollars are no mathematics
    assert "10\N{MULTIPLICATION SIGN} beyond" in names[1]
    assert {HIT, MISS} <= colours(ax)
    assert "waiting" in words(forecasts_and_outcomes([hit], [forecasts[1]]))
    with pytest.raises(InputError, match="no forecasts"):
        forecasts_and_outcomes([])


def test_the_back_test_counts_hits_and_keeps_runs_of_a_budget_apart() -> None:
    tested = backtest(Chinchilla, RUNS, draws=100)
    ax = backtest_errors(tested)
    inside = round(tested.coverage * len(tested.test))
    assert f"{inside} of {len(tested.test)} inside" in words(ax)
    assert f"fitted on {len(tested.train)} runs" in words(ax)
    x = np.concatenate([line.get_xdata() for line in ax.lines if line.get_marker() in ("D", "X")])
    assert len(x) == len(tested.test)
    assert np.min(np.diff(np.sort(np.log(x)))) > 0.01
    y = np.concatenate([line.get_ydata() for line in ax.lines if line.get_marker() in ("D", "X")])
    missed = 100 * (tested.test.loss / tested.predicted - 1)
    assert sorted(y) == pytest.approx(sorted(missed))


@pytest.mark.parametrize("ending", ["svg", "png", "pdf"])
def test_a_saved_figure_has_the_same_bytes_every_time(ending: str, tmp_path: Path) -> None:
    first = save_figure(learning_curves(RUNS), tmp_path / f"a.{ending}")
    second = save_figure(learning_curves(RUNS), tmp_path / f"b.{ending}")
    assert first.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"a.{ending}", f"b.{ending}"]


def test_a_figure_is_not_saved_where_it_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="written as"):
        save_figure(learning_curves(RUNS), tmp_path / "a.gif")
    with pytest.raises(InputError, match="no folder"):
        save_figure(learning_curves(RUNS), tmp_path / "nowhere" / "a.svg")


def test_inline_svg_is_xml_with_its_own_ids_and_text_that_is_text(
    forecasts: tuple[Forecast, ...],
) -> None:
    svg = inline_svg(forecasts_and_outcomes([], forecasts), "fc", "a < b & c")
    root = ET.fromstring(svg)
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    assert all(name.startswith("fc-") for name in ids)  # type: ignore[union-attr]
    links = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', svg)
    assert links
    assert {a or b for a, b in links} <= set(ids)
    assert "a &lt; b &amp; c" in svg
    assert "second $x^2$" in svg
    assert "var(--law, #d55e00)" in svg
    assert "DejaVu" not in svg
    assert "http" not in svg.replace("http://www.w3.org/", "")


def test_runs_of_one_budget_have_an_axis_to_stand_on() -> None:
    n = np.array([2e7, 4e7, 8e7])
    d = 1e18 / (6 * n)
    runs = Runs(n=n, d=d, loss=LAW(n, d))
    low, high = loss_against(runs, "c").get_xlim()  # a warning of matplotlib's would fail this
    assert (low, high) == pytest.approx((0.5e18, 2e18))
