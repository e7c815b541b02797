"""The picture of the critical batch: one line a target, hollow points for runs that stopped."""

from __future__ import annotations

import numpy as np
import pytest

from isoloss.figures import steps_against_batch
from isoloss.fitting import Crossings, critical_batch

pytest.importorskip("matplotlib")


def test_steps_against_batch_draws_every_target_and_what_was_missed() -> None:
    target = np.repeat([2.5, 3.0], 12)
    batch = np.tile(2.0 ** np.arange(6, 18), 2)
    steps = 2e3 / (target - 1.5) * (1 + 6e4 * target ** (-1 / 0.3) / batch)
    missed = steps > 6e4
    data = Crossings.of(target, batch, np.minimum(steps, 6e4), censored=missed)
    found = critical_batch(data)
    ax = steps_against_batch(found)
    lines = ax.get_lines()
    assert sum(line.get_marker() == "^" for line in lines) == 2
    hollow = np.concatenate([line.get_xdata() for line in lines if line.get_marker() == "^"])
    assert len(hollow) == missed.sum() > 0
    names = {text.get_text() for text in ax.texts}
    assert {"2.5 nats", "3 nats"} <= names
    diamonds = [line for line in lines if line.get_marker() == "D"]
    assert [float(line.get_ydata()[0]) for line in diamonds] == pytest.approx(2 * found.s_min.mid)
    assert ax.get_xscale() == ax.get_yscale() == "log"
    same = ax.figure.add_subplot()
    assert steps_against_batch(found, ax=same) is same
