"""Line searches on a noisy quadratic, where the best step at every batch is known."""

from __future__ import annotations

import numpy as np
import pytest

from isoloss.errors import FitError, InputError

torch = pytest.importorskip("torch", reason="the lab needs torch: install isoloss[lab]")

from noisy_quadratic import quadratic  # noqa: E402

from isoloss.fitting.line_search import fit_line_search  # noqa: E402
from isoloss.lab.batch_size.line_search import RATIO, LineSearch, search_line  # noqa: E402
from isoloss.lab.batch_size.task import Learner  # noqa: E402

BENDS, START, NOISE = [1.0, 3.0, 0.5, 2.0], [2.0, 1.0, -3.0, 0.5], 6.0
BATCHES = [1, 4, 16, 64, 256]
EXACT = (torch.zeros(1, 4),)  # examples without noise: the loss itself
H, W = np.array(BENDS), np.array(START)
GHG = float((H**3 * W**2).sum())
B_NOISE = NOISE**2 * H.sum() / GHG
EPS_MAX = float((H**2 * W**2).sum()) / GHG


def searched(seed: int, repeats: int, eps: float = 0.05) -> list[LineSearch]:
    learner = Learner(quadratic(BENDS, START, NOISE, rate=0.1), seed=seed)
    return [
        search_line(learner, batch=b, repeats=repeats, evaluation=EXACT, eps=eps) for b in BATCHES
    ]


def fitted(lines: list[LineSearch], level: float = 0.9) -> object:
    columns = [[getattr(line, name) for line in lines] for name in ("batch", "eps", "change")]
    return fit_line_search(*columns, level=level)


def test_both_curves_give_the_noise_scale_of_the_hessian() -> None:
    found = fitted(searched(0, 250), 0.99)
    for fit in (found.of_eps, found.of_gain):
        assert fit.b_star.low < B_NOISE < fit.b_star.high
        assert fit.law.b_star == pytest.approx(B_NOISE, rel=0.35)
    assert found.of_eps.law.rate_max == pytest.approx(EPS_MAX, rel=0.1)
    expected = EPS_MAX / (1 + B_NOISE / np.array(BATCHES))
    assert found.eps_opt.mid == pytest.approx(expected, rel=0.2)
    gain_max = 0.5 * float((H**2 * W**2).sum()) * EPS_MAX
    assert found.of_gain.law.rate_max == pytest.approx(gain_max, rel=0.15)
    assert not found.left_out


def test_the_intervals_hold_the_truth() -> None:
    held = []
    for seed in range(12):
        found = fitted(searched(seed, 20))
        held.append(
            [fit.b_star.low <= B_NOISE <= fit.b_star.high for fit in (found.of_eps, found.of_gain)]
        )
    assert (np.mean(held, axis=0) >= 0.64).all()  # 0.9, less three standard errors of 12


@pytest.mark.parametrize("eps", [1e-4, 10.0])
def test_a_start_far_off_is_walked_from_and_the_weights_stay(eps: float) -> None:
    learner = Learner(quadratic(BENDS, START, 0.0, rate=0.1), seed=0)
    line = search_line(learner, batch=3, repeats=2, evaluation=EXACT, eps=eps)
    lowest = int(np.argmin(line.change.mean(axis=0)))
    assert 2 <= lowest <= len(line.eps) - 3
    assert line.eps[lowest] == pytest.approx(EPS_MAX, rel=RATIO - 1)
    # Without noise each change is the parabola itself.
    slope = float((H**2 * W**2).sum())
    assert line.change[0] == pytest.approx(
        -line.eps * slope + 0.5 * line.eps**2 * GHG, rel=1e-4, abs=1e-5
    )
    assert torch.equal(learner.model.weights.detach(), torch.tensor(START))


def test_the_weights_stay_where_a_gradient_is_not_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = Learner(quadratic(BENDS, START, NOISE, rate=0.1), seed=0)
    monkeypatch.setattr(learner, "gradient", lambda _: (torch.full((4,), torch.inf),))
    line = search_line(learner, batch=1, repeats=4, evaluation=EXACT, eps=0.1)
    assert line.change.shape == (4, 0)
    assert torch.equal(learner.model.weights.detach(), torch.tensor(START))


def test_adam_steps_along_weighed_gradients() -> None:
    learner = Learner(quadratic(BENDS, START, 0.0, rate=0.1, optimizer="adam"), seed=0)
    with pytest.raises(InputError, match="has taken no step"):
        search_line(learner, batch=1, repeats=1, evaluation=EXACT, eps=0.1)
    learner.update(1, 1e-6)
    line = search_line(learner, batch=1, repeats=1, evaluation=EXACT, eps=0.1)
    # After one step sqrt(v_hat) is |g|, so P g is the sign of g: a step of eps in every weight.
    slope, bend = float(np.abs(H * W).sum()), float(H.sum())
    assert line.change[0] == pytest.approx(
        -line.eps * slope + 0.5 * line.eps**2 * bend, rel=1e-3, abs=1e-4
    )


def test_a_batch_whose_best_step_is_not_found_is_left_out() -> None:
    eps = 0.1 * 2.0 ** np.arange(6)
    rng = np.random.default_rng(0)

    def change(batch: float) -> np.ndarray:
        bends = (1 + 10 / batch) * (1 + 0.05 * rng.normal(size=(8, 1)))
        return -eps + 0.5 * eps**2 * bends

    batches = [2.0, 10.0, 50.0, 400.0]
    changes = [change(b) for b in batches]
    rising = np.abs(rng.normal(size=(8, 6))) + 0.1
    found = fit_line_search([*batches, 5.0], [eps] * 5, [*changes, rising])
    assert found.left_out == (5.0,)
    assert found.of_eps.law.b_star == pytest.approx(10.0, rel=0.15)
    with pytest.raises(FitError, match="2 of 3 batches"):
        fit_line_search([2, 10, 5], [eps] * 3, [*changes[:2], rising])
    with pytest.raises(InputError, match="3 repeats"):
        fit_line_search([2, 10, 50], [eps] * 3, [one[:3] for one in changes[:3]])
    with pytest.raises(InputError, match="that rise"):
        fit_line_search([2, 10, 50], [eps[::-1]] * 3, changes[:3])
