"""Steps at the best rate of each batch: a bowl's lowest, its sides, runs that never got there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from isoloss.errors import InputError
from isoloss.fitting import critical_batch
from isoloss.fitting.tuned_steps import tuned_steps
from isoloss.runs import Runs

S_MIN, B_CRIT = 700.0, 90.0


def best_rate(batch: float) -> float:
    return 0.31 / (1 + B_CRIT / batch)


def curves(batches, factors, *, most: float = 1e9, noise: float = 0.0, seeds: int = 1) -> Runs:
    """Runs whose loss is 4 (steps / S)^-0.3: they reach 4 after S steps of their batch and rate."""
    rng = np.random.default_rng(3)
    rows = []
    for batch in batches:
        for factor in factors:
            for seed in range(seeds):
                away = np.log(factor) ** 2
                needed = S_MIN * (1 + B_CRIT / batch) * np.exp(0.4 * away + noise * rng.normal())
                steps = np.geomspace(needed / 50, min(needed * 4, most), 60)
                name = f"{batch} {factor} {seed}"
                lr = best_rate(batch) * factor
                rows += [(s, 4 * (s / needed) ** -0.3, batch, lr, name) for s in steps]
    steps, loss, batch, lr, run = zip(*rows, strict=True)
    n = np.full(len(rows), 1e4)
    d = np.multiply(steps, batch)
    return Runs(n=n, d=d, loss=loss, steps=steps, batch=batch, lr=lr, run=run)


def test_the_vertex_is_found_between_the_rates_tried() -> None:
    # The rates are not symmetric about the best one, which none of them is.
    found = tuned_steps(curves([8.0, 90.0, 2000.0], [0.3, 0.8, 1.7, 3.1]), [4.0])
    batch = found.crossings.batch
    assert np.allclose(found.crossings.steps, S_MIN * (1 + B_CRIT / batch), rtol=0.01)
    assert np.allclose(found.rate, best_rate(batch), rtol=0.03)
    assert found.bracketed.all()
    assert not found.crossings.censored.any()


def test_a_lowest_at_the_edge_is_the_answer_and_not_bracketed() -> None:
    found = tuned_steps(curves([90.0], [1.5, 3.0, 6.0]), [4.0])
    expected = S_MIN * 2 * np.exp(0.4 * np.log(1.5) ** 2)
    assert found.crossings.steps == pytest.approx([expected], rel=0.02)
    assert found.rate == pytest.approx([1.5 * best_rate(90.0)])
    assert not found.bracketed.any()


def test_rates_that_never_got_there_are_sides_and_not_points() -> None:
    wide = curves([90.0], [0.1, 1.2, 9.0], most=3 * S_MIN)
    found = tuned_steps(wide, [4.0])
    assert found.bracketed.all()
    assert found.rate == pytest.approx([1.2 * best_rate(90.0)])


def test_a_run_that_ended_at_once_is_a_side_too() -> None:
    made = curves([90.0], [0.1, 1.2, 9.0])
    last = np.char.startswith(made.run, "90.0 9.0")
    kept = ~last | (np.cumsum(last) == 1)
    found = tuned_steps(made[kept], [4.0])
    assert found.bracketed.all()
    assert found.rate == pytest.approx([1.2 * best_rate(90.0)])


def test_a_batch_that_never_got_there_is_censored_at_the_steps_it_made() -> None:
    made = curves([8.0, 2000.0], [0.5, 1.0, 2.0], most=2.0 * S_MIN)
    found = tuned_steps(made, [4.0])
    assert found.crossings.censored.tolist() == [True, False]
    assert found.crossings.steps[0] == pytest.approx(2.0 * S_MIN)
    assert np.isnan(found.rate[0])


def test_a_target_that_all_begin_below_is_left_out() -> None:
    # The first evaluation is below the loss and the second far above: smoothed, they begin above.
    made = curves([90.0, 2000.0], [0.5, 1.0, 2.0])
    loss, rows = made.loss.copy(), made.batch == 90.0
    firsts = rows & np.append(True, made.run[1:] != made.run[:-1])
    loss[firsts], loss[np.roll(firsts, 1)] = 3.9, 40.0
    found = tuned_steps(replace(made, loss=loss), [4.0])
    assert found.crossings.batch.tolist() == [2000.0]


def test_a_rate_at_which_one_of_two_runs_got_there_is_no_answer_by_itself() -> None:
    made = curves([90.0], [1.2], seeds=2)
    first = made.run == "90.0 1.2 0"
    found = tuned_steps(made[~first | (made.loss > 4.5)], [4.0])
    assert found.crossings.censored.all()
    assert found.crossings.steps[0] == pytest.approx(made.steps[first & (made.loss > 4.5)].max())


def test_the_critical_batch_is_recovered_through_it() -> None:
    batches = 2.0 ** np.arange(1, 14)
    made = curves(batches, [0.4, 0.9, 1.8, 3.7], noise=0.05, seeds=2)
    fitted = critical_batch(tuned_steps(made, [4.0, 5.0, 6.0]).crossings)
    assert fitted.b_crit.mid == pytest.approx([B_CRIT] * 3, rel=0.15)


def test_curves_without_rates_are_refused() -> None:
    made = curves([8.0, 90.0], [1.0])
    with pytest.raises(InputError, match="'lr'"):
        tuned_steps(Runs(n=made.n, d=made.d, loss=made.loss, steps=made.steps, batch=made.batch))
