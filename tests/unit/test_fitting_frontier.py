"""Approach 1: the best size from the ends of schedules, and the refusal of anything hotter."""

from __future__ import annotations

import numpy as np
import pytest

from isoloss.counting import Shape
from isoloss.errors import Status, UnidentifiedError
from isoloss.fitting import frontier
from isoloss.fitting.cooling import hot, rate_share
from isoloss.laws import Chinchilla, allocate
from isoloss.runs import Runs, RunSpec, Schedule

LAW = Chinchilla(1.69, 406.4, 410.7, 0.34, 0.28)


def grid(step: float = 1.5, tokens: float = 2.0, law: Chinchilla = LAW) -> Runs:
    """Sizes a factor `step` apart, each ended at 5 to 320 tokens per parameter."""
    sizes = 1e7 * step ** np.arange(int(np.log(100) / np.log(step)) + 1)
    multiples = 5 * tokens ** np.arange(int(np.log(64) / np.log(tokens)) + 1)
    n, m = (column.ravel() for column in np.meshgrid(sizes, multiples))
    return Runs(n=n, d=n * m, loss=law(n, n * m))


@pytest.mark.parametrize(("step", "tokens", "within"), [(1.5, 2.0, 0.004), (2.0, 4.0, 0.07)])
def test_ends_give_the_best_size(step: float, tokens: float, within: float) -> None:
    found = frontier(grid(step, tokens))
    best = allocate(LAW, found.c)
    assert found.status == ()
    assert found.left_out == 0
    assert len(found.c) >= 6
    assert found.n == pytest.approx(best.n, rel=within)
    assert found.n_trend.exponent == pytest.approx(0.28 / 0.62, abs=0.008)
    assert found.n_trend.exponent + found.d_trend.exponent == pytest.approx(1.0, abs=0.01)


def test_what_compute_is_worth_may_be_counted_otherwise() -> None:
    runs = grid()
    cost = 6 * runs.n + 3e7
    found = frontier(runs.replace(c=cost * runs.d, c_convention="exact"))
    best = allocate(LAW, found.c, cost=lambda n: 6 * n + 3e7)
    assert found.n == pytest.approx(best.n, rel=0.02)
    assert found.d == pytest.approx(best.d, rel=0.05)


def test_points_along_a_run_are_left_out_and_said_to_be() -> None:
    ends = grid()
    ends = ends.replace(run=[f"run {i}" for i in range(len(ends))])
    early = ends.replace(d=ends.d / 2, loss=ends.loss * 1.05)
    found = frontier(Runs.concat([ends, early]).replace(run=np.tile(ends.run, 2)))
    assert found.left_out == len(ends)
    assert found.status == (Status.HOT_AND_COOLED,)
    assert found.n == pytest.approx(frontier(ends).n)


def curve_of(run: str, n: float, end: float) -> Runs:
    d = end * np.array([0.25, 0.5, 1.0])
    return Runs(n=np.full(3, n), d=d, loss=LAW(np.full(3, n), d), run=[run] * 3)


def test_curves_alone_are_refused_with_the_cool_down_that_mends_them() -> None:
    curves = Runs.concat([curve_of(str(n), n, 4e9) for n in (1e7, 3e7, 1e8, 3e8)])
    with pytest.raises(UnidentifiedError, match=r"0 sizes.*8 rows.*high learning rate") as caught:
        frontier(curves)
    assert "n = 10.0M take the checkpoint at 1.60B tokens" in str(caught.value)
    assert "zero by 2.00B tokens" in str(caught.value)


@pytest.mark.parametrize(("start", "says"), [(1e7, "above 40.0M"), (1e9, "below 1.00B")])
def test_sizes_all_on_one_side_name_the_other_side(start: float, says: str) -> None:
    n, m = (a.ravel() for a in np.meshgrid(start * np.array([1.0, 2.0, 4.0]), [1.0, 2.0, 4.0]))
    d = m * (3e10 if start < 1e8 else 1e9)
    with pytest.raises(UnidentifiedError, match=f"the lowest size changes 0 times.*{says}"):
        frontier(Runs(n=n, d=d, loss=LAW(n, d)))


def specs(schedule: Schedule) -> RunSpec:
    shape = Shape(2, 32, 4, vocab=256, n_ctx=64)
    return RunSpec(shape=shape, tokens=64 * 1000, batch=64, lr=1e-3, schedule=schedule)


def test_a_spec_says_how_hot_a_row_is() -> None:
    runs = Runs(
        n=[1e5] * 6,
        d=[3.2e4, 5.44e4, 6.4e4, 6.4e4, 3.2e4, 6.4e4],
        steps=[500, 850, 1000, 1000, 500, 1000],
        loss=[4.0, 3.9, 3.8, 3.9, 4.0, 3.9],
        run=["wsd", "wsd", "wsd", "constant", "cosine", "unknown"],
        specs={
            "wsd": specs(Schedule("wsd", final=0.0, decay=0.2)),
            "constant": specs(Schedule("constant")),
            "cosine": specs(Schedule("cosine", final=0.1, warmup=0.0)),
        },
    )
    share = rate_share(runs)
    assert share == pytest.approx([1.0, 0.75, 0.0, 1.0, 0.55, np.nan], abs=0.01, nan_ok=True)
    assert hot(runs).tolist() == [True, True, False, True, True, False]
