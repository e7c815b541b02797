"""The figure of loss against rate shows what `tune` found."""

from __future__ import annotations

import numpy as np
import pytest
from simulated_sweeps import sweep

from isoloss.errors import InputError
from isoloss.figures import panels, tuning_curves
from isoloss.figures.style import LAW, PAPER
from isoloss.fitting import tune
from isoloss.runs import Runs

pytest.importorskip("matplotlib")


def test_every_model_has_its_bowl_and_a_diamond_at_its_optimum() -> None:
    runs, _ = sweep(np.random.default_rng(12), sizes=3, tokens=2, arms=3)
    found = tune(runs, draws=300)
    ax = panels()[0]
    assert tuning_curves(found, ax=ax) is ax
    ax.figure.draw_without_rendering()
    diamonds = {float(line.get_xdata()[0]): line for line in ax.lines if line.get_marker() == "D"}
    assert sorted(diamonds) == pytest.approx(sorted(one.lr[1] for one in found.usable))
    for one in found.usable:
        diamond = diamonds[one.lr[1]]
        assert diamond.get_ydata()[0] == pytest.approx(one.loss)
        assert diamond.get_markerfacecolor() == (PAPER if one.status else LAW)
    bowls = [line for line in ax.lines if len(line.get_xdata()) == 60]
    assert len(bowls) == 6
    lowest = sorted(float(np.min(line.get_ydata())) for line in bowls)
    assert lowest == pytest.approx(sorted(one.loss for one in found.usable), rel=1e-3)
    assert "30M, 400M tokens" in {text.get_text() for text in ax.texts}


def test_without_an_optimum_there_is_no_figure() -> None:
    runs = Runs(n=[1e8], d=[2e9], loss=[3.3], lr=[0.002])
    with pytest.raises(InputError, match="no model has a known optimum"):
        tuning_curves(tune(runs))
