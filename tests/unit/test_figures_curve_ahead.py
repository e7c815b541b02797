"""The figure of a run in progress: what was seen, the forecast, the band, the sisters behind."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from isoloss.errors import InputError
from isoloss.figures import curve_ahead, panels
from isoloss.figures.style import INK, LAW
from isoloss.runs import Runs
from isoloss.trust import CurveForecast

STEPS = np.arange(301.0, 1001.0)
FORECAST = CurveForecast(
    run="b",
    seen=300,
    steps=STEPS,
    low=2.9 + 9 / STEPS**0.5,
    mid=3.0 + 9 / STEPS**0.5,
    high=3.2 + 9 / STEPS**0.5,
    level=0.9,
    form="annealing",
    weights={"annealing": 1.0, "kaplan": 0.0},
    alpha=0.6,
    sisters=1,
    tested=0,
    reach=2.1,
)


def curves() -> Runs:
    step = np.r_[np.arange(100.0, 1001, 100), np.arange(100.0, 301, 100)]
    run = ["a"] * 10 + ["b"] * 3
    batch = np.full(13, 1e5)
    return Runs(n=np.full(13, 1e8), d=step * 1e5, loss=3 + 9 / step**0.5, run=run, batch=batch)


def test_the_run_its_sisters_and_the_forecast_are_drawn() -> None:
    ax = panels()[0]
    assert curve_ahead(FORECAST, curves(), ax=ax) is ax
    ax.figure.draw_without_rendering()
    drawn = {str(line.get_color()): np.asarray(line.get_xdata(), dtype=float) for line in ax.lines}
    assert drawn[INK].tolist() == [100, 200, 300]
    assert (drawn[LAW][0], drawn[LAW][-1]) == (301, 1000)
    assert len(ax.lines) == 3
    assert len(ax.patches) == 1


def test_it_draws_the_forecast_alone_and_refuses_curves_without_steps() -> None:
    assert len(curve_ahead(FORECAST).lines) == 1
    with pytest.raises(InputError, match="batch in tokens"):
        curve_ahead(FORECAST, curves().replace(batch=None))
