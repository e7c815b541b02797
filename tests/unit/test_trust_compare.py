"""Two arms: the multiplier of exact laws, twins, refusals, and what simulation promises."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from isoloss.errors import InputError, UnidentifiedError
from isoloss.laws import Chinchilla, allocate
from isoloss.runs import Runs
from isoloss.trust import compare, compute_multiplier
from isoloss.trust.arms import fit_arms, pair

LAW = Chinchilla(1.8172, 477.84, 2143.86, 0.34731, 0.36718)
GAMMA = LAW.alpha * LAW.beta / (LAW.alpha + LAW.beta)


def grid() -> tuple[np.ndarray, np.ndarray]:
    n, d = np.meshgrid([4e7, 1.1e8, 3.3e8, 9e8], [1.2e9, 5e9, 2.1e10])
    return n.ravel(), d.ravel()


def arm(
    gain: float, noise: float = 0.0, seed: int = 0, law: Chinchilla = LAW, floor: float = 0.0
) -> Runs:
    """Twelve runs of an arm that needs `gain` times less compute than `law` does."""
    n, d = grid()
    ratio = gain ** -(law.alpha * law.beta / (law.alpha + law.beta))
    loss = replace(law, E=law.E + floor, A=law.A * ratio, B=law.B * ratio)(n, d)
    random = np.random.default_rng(seed)
    return Runs(n=n, d=d, loss=loss * np.exp(noise * random.standard_normal(n.size)))


@pytest.mark.parametrize("gain", [0.6, 1.25, 3.0])
def test_the_multiplier_of_exact_arms_is_theirs(gain: float) -> None:
    found = compare(arm(1.0), arm(gain))
    assert found.multiplier.mid == pytest.approx(gain, rel=2e-3)
    assert found.verdict == ("b" if gain > 1 else "a")
    assert found.pairs == 12
    assert found.exponent == pytest.approx(GAMMA, rel=0.02)


def test_the_arms_may_change_places() -> None:
    one, other = arm(1.0, 0.004, 3), arm(1.6, 0.004, 4)
    forth, back = compare(one, other), compare(other, one)
    assert forth.multiplier.mid * back.multiplier.mid == pytest.approx(1.0, rel=0.02)
    assert {forth.verdict, back.verdict} == {"a", "b"}


def test_marins_identity_holds_at_every_budget_and_is_what_compare_finds() -> None:
    floor, scale, gamma, gain = 2.1, 900.0, 0.153, 1.7
    c = np.geomspace(2e17, 4e20, 9)
    n = np.sqrt(c / 120.0)
    loss_a = floor + scale * c**-gamma
    loss_b = floor + scale * (gain * c) ** -gamma
    np.testing.assert_allclose(compute_multiplier(loss_a, loss_b, floor, gamma), gain, rtol=1e-9)
    # With a wrong asymptote the "multiplier" drifts with the budget: the check it is used as.
    drift = compute_multiplier(loss_a, loss_b, floor - 0.4, gamma)
    assert np.ptp(drift) > 0.02
    arms = [Runs(n=n, d=c / (6 * n), loss=loss) for loss in (loss_a, loss_b)]
    found = compare(*arms)
    assert found.law == "c"
    assert found.multiplier.mid == pytest.approx(gain, rel=5e-3)
    with pytest.raises(InputError, match="above the asymptote"):
        compute_multiplier(loss_a, loss_b, 3.5, gamma)
    with pytest.raises(InputError, match="exponent"):
        compute_multiplier(loss_a, loss_b, floor, 0.0)


def test_a_free_asymptote_is_found_where_there_is_one_and_depends_on_the_budget() -> None:
    worse_floor = [arm(1.0, 0.0005, 1), arm(1.0, 0.0005, 2, floor=0.08)]
    shared = compare(*worse_floor)
    free = compare(*worse_floor, asymptote="free", at=1e19)
    later = compare(*worse_floor, asymptote="free", at=1e22)
    assert shared.asymptotes_differ < 0.01
    assert free.asymptote == "free"
    assert free.verdict == "a"
    assert later.multiplier.mid < free.multiplier.mid < 1
    # The multiplier is the root: arm a at k c has the loss of arm b at c.
    c, k = 1e19, float(free.multiplier.mid)
    target = float(replace(LAW, E=LAW.E + 0.08)(*_best(c)))
    assert float(LAW(*_best(k * c))) == pytest.approx(target, rel=3e-3)


def _best(c: float) -> tuple[float, float]:
    found = allocate(LAW, c)
    return float(found.n), float(found.d)


def test_twins_take_out_what_both_arms_share() -> None:
    n, _ = grid()
    shared = np.exp(0.02 * np.sin(3.0 * np.log(n)))
    one, other = (arm(g, 0.002, s) for g, s in ((1.0, 1), (1.15, 2)))
    one, other = (runs.replace(loss=runs.loss * shared) for runs in (one, other))
    twins = compare(one, other)
    strangers = compare(one, other.replace(seed=np.full(12, 9.0)))
    assert twins.pairs == 12
    assert strangers.pairs == 0
    widths = [np.log(found.reducible.high / found.reducible.low) for found in (twins, strangers)]
    assert widths[0] < 0.5 * widths[1]
    assert twins.verdict == "b"


def test_pairs_are_equal_in_size_tokens_and_seed_and_used_once() -> None:
    one = Runs(n=np.array([1e7, 1e7, 2e7, 3e7]), d=np.full(4, 1e9), loss=np.full(4, 3.0))
    other = Runs(n=np.array([3e7, 1e7, 1e7, 4e7]), d=np.full(4, 1e9), loss=np.full(4, 3.0))
    assert pair(one, other).tolist() == [[0, 5], [1, 6], [3, 4]]
    seeded = other.replace(seed=np.array([0.0, 1.0, 1.0, 0.0]))
    assert pair(one.replace(seed=np.array([1.0, 2.0, 1.0, 0.0])), seeded).tolist() == [
        [0, 5],
        [3, 4],
    ]


def test_the_fit_agrees_with_scipy() -> None:
    least_squares = pytest.importorskip("scipy.optimize").least_squares
    one, other = arm(1.0, 0.004, 11), arm(1.3, 0.004, 12).replace(seed=np.arange(12.0))
    arms = fit_arms(one, other, "nd", free=False)
    x = np.log(np.concatenate([one.n, other.n])), np.log(np.concatenate([one.d, other.d]))
    y = np.log(np.concatenate([one.loss, other.loss]))
    second = np.arange(24) >= 12
    prior = np.array([y.min() + np.log(0.7), np.log(0.3), np.log(0.3)])
    weights = 1.0 / np.array([0.4, 0.5, 0.5])

    def left(p: np.ndarray) -> np.ndarray:
        alpha, beta = np.exp(p[3]), np.exp(p[4])
        terms = np.exp(p[1] - alpha * (x[0] - x[0].mean())) + np.exp(
            p[2] - beta * (x[1] - x[1].mean())
        )
        loss = np.exp(p[0]) + np.where(second, np.exp(p[5]), 1.0) * terms
        held = (np.array([p[0], p[3], p[4]]) - prior) * weights
        return np.concatenate([(np.log(loss) - y) / arms.sd, held])

    start = np.array([np.log(1.8), -1.0, -1.0, np.log(0.35), np.log(0.35), 0.0])
    found = least_squares(left, start, x_scale="jac", xtol=1e-14, ftol=1e-14, gtol=1e-14)
    # The noise that weighs the data against the prior moves by a round of the alternation.
    np.testing.assert_allclose(arms.centre, found.x, atol=2e-4)


def test_what_cannot_be_compared_is_refused_in_a_line() -> None:
    one, other = arm(1.0), arm(1.2)
    with pytest.raises(UnidentifiedError, match="arm b has 3 runs"):
        compare(one, other[:3])
    flat = Runs(n=np.geomspace(1e8, 1.1e8, 6), d=np.full(6, 1e9), loss=np.linspace(3, 2.9, 6))
    with pytest.raises(UnidentifiedError, match="same compute"):
        compare(flat, flat)
    with pytest.raises(InputError, match="n_convention"):
        compare(one, other.replace(n_convention="total"))
    with pytest.raises(InputError, match="level"):
        compare(one, other, level=95)
    with pytest.raises(InputError, match="FLOPs"):
        compare(one, other, at=-1.0)


@pytest.mark.parametrize("twins", [True, False])
def test_a_slice_of_the_coverage_study(twins: bool) -> None:
    """sigma 0.5 %, 2 x 12 runs; full size in benchmarks/compare_coverage.py."""
    seeds = None if twins else np.arange(12.0)
    false = found = held = 0
    studies = 30
    for number in range(studies):
        arms = [arm(g, 0.005, 100 * number + i) for i, g in enumerate((1.0, 1.0, 1.25))]
        arms[1:] = [runs.replace(seed=seeds) for runs in arms[1:]]
        false += compare(arms[0], arms[1]).verdict != "not distinguishable"
        apart = compare(arms[0], arms[2])
        found += apart.verdict == "b"
        held += bool(apart.multiplier.low <= 1.25 <= apart.multiplier.high)
    assert false <= 5  # 5 % of 30 is 1.5; more than 5 has probability 0.3 %
    assert found >= 24
    assert held >= 24


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"asymptote": "Free"}, 'asymptote is "shared" or "free", not \'Free\''),
        ({"asymptote": None}, "asymptote is"),
        ({"law": "n"}, 'law is "nd" or "c"'),
        ({"law": ""}, 'law is "nd" or "c"'),
        ({"at": "x"}, "compute in FLOPs, not 'x'"),
        ({"at": float("nan")}, "compute in FLOPs"),
        ({"at": 0}, "compute in FLOPs"),
        ({"level": "high"}, "level is a share"),
    ],
)
def test_an_unknown_choice_is_refused_and_not_taken_for_another(
    asked: dict[str, object], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        compare(arm(1.0), arm(1.2), **asked)  # type: ignore[arg-type]
