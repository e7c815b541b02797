"""The pictures of what a batch costs and of how the critical one moves, on simulated scans."""

from __future__ import annotations

import math

import numpy as np
import pytest

from isoloss.errors import InputError
from isoloss.figures import (
    NoiseAlong,
    critical_batch_against_loss,
    panels,
    steps_against_tokens,
    time_against_compute,
)
from isoloss.fitting import CriticalBatchFit, Crossings, critical_batch

pytest.importorskip("matplotlib")

TARGETS, SIZES = (3.0, 2.6, 2.3), (6144.0, 38400.0)


@pytest.fixture(scope="module")
def found() -> CriticalBatchFit:
    target, batch, n = (
        part.ravel() for part in np.meshgrid(TARGETS, 32 * 2.0 ** np.arange(10), SIZES)
    )
    steps = 4e2 * (6144 / n) ** 0.2 / (target - 1.9) * (1 + 4e4 * target**-4.0 / batch)
    missed = steps > 3e4
    return critical_batch(Crossings.of(target, batch, np.minimum(steps, 3e4), censored=missed, n=n))


def test_the_critical_batch_of_each_size_falls_on_the_law(found: CriticalBatchFit) -> None:
    noise = NoiseAlong(
        SIZES[0],
        np.array([3.1, 2.5, 2.2]),
        np.array([400.0, 900.0, math.inf]),
        np.array([300.0, 700.0, 1500.0]),
        np.array([500.0, 1200.0, math.inf]),
    )
    ax = critical_batch_against_loss(found, measured=[noise])
    lines = ax.get_lines()
    left, right = ax.get_xlim()
    assert left > right
    points = {
        (float(line.get_xdata()[0]), float(line.get_ydata()[0]))
        for line in lines
        if line.get_markersize() == 6.5
    }
    assert {x for x, _ in points} == set(TARGETS)
    assert all(y == pytest.approx(4e4 * x**-4.0, rel=0.01) for x, y in points)
    (caret,) = (line for line in lines if line.get_marker() == "^" and len(line.get_xdata()))
    assert (caret.get_xdata()[0], caret.get_ydata()[0]) == (2.2, 1500.0)
    names = {text.get_text(): text for text in ax.texts}
    for n in ("6.14K", "38.4K"):  # beside the critical batch at the least loss
        at = names[f"{n} parameters"].xy
        assert at == (pytest.approx(right), pytest.approx(4e4 * TARGETS[-1] ** -4.0, rel=0.01))


def test_points_are_of_the_fits_apart_where_there_are_some(found: CriticalBatchFit) -> None:
    data = found.crossings
    one = critical_batch(data.take((data.target == TARGETS[0]) & (data.n == SIZES[1])))
    ax = critical_batch_against_loss(found, apart=[one])
    points = [line for line in ax.get_lines() if line.get_markersize() == 6.5]
    assert [float(line.get_ydata()[0]) for line in points] == pytest.approx(one.b_crit.mid)


def test_steps_against_tokens_has_a_line_and_points_for_each_target(
    found: CriticalBatchFit,
) -> None:
    (ax,) = panels()
    assert steps_against_tokens(found, SIZES[0], ax=ax) is ax
    lines = [line for line in ax.get_lines() if line.get_linestyle() == "-"]
    assert len(lines) == len(TARGETS)
    for line, i in zip(lines, np.flatnonzero(found.n == SIZES[0]), strict=True):
        time = line.get_ydata() / found.s_min.mid[i]
        text = line.get_xdata() / found.e_min.mid[i]
        np.testing.assert_allclose((time - 1) * (text - 1), 1.0, rtol=1e-6)
    data = found.crossings
    hollow = [line for line in ax.get_lines() if line.get_marker() == "^"]
    missed = data.censored & (data.n == SIZES[0])
    assert sum(len(line.get_xdata()) for line in hollow) == missed.sum() > 0
    assert {"3 nats", "2.3 nats"} <= {text.get_text() for text in ax.texts}
    with pytest.raises(InputError, match="use one of 6144, 38400"):
        steps_against_tokens(found, 7.0)


def test_time_against_compute_puts_every_run_on_one_line(found: CriticalBatchFit) -> None:
    ax = time_against_compute(found)
    runs = [line for line in ax.get_lines() if line.get_marker() == "o"]
    time = np.concatenate([line.get_xdata() for line in runs])
    compute = np.concatenate([line.get_ydata() for line in runs])
    assert len(time) == (~found.crossings.censored).sum()
    np.testing.assert_allclose((time - 1) * (compute - 1), 1.0, rtol=0.05)
    (diamond,) = (line for line in ax.get_lines() if line.get_marker() == "D")
    assert (diamond.get_xdata()[0], diamond.get_ydata()[0]) == (2, 2)
