"""`tune`: what is an arm, what is flagged, what moves with what, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from simulated_sweeps import LR_LAW, in_order, sweep

from isoloss.errors import InputError, Status, UnidentifiedError
from isoloss.fitting import Tuning, tune
from isoloss.fitting.tuning.arms import _near
from isoloss.fitting.tuning.section import phi
from isoloss.fitting.tuning.trends import separable, tuning_law
from isoloss.runs import Runs


def one_model(rates: list[float], losses: list[float], **columns: object) -> Runs:
    size = len(rates)
    return Runs(n=[1.3e8] * size, d=[2.7e9] * size, loss=losses, lr=rates, **columns)


def bowl(rates: list[float], best: float = 0.0031, bottom: float = 3.21) -> list[float]:
    return [bottom * float(np.exp(0.04 * np.log(rate / best) ** 2)) for rate in rates]


RATES = [0.001, 0.002, 0.004, 0.008]


@pytest.fixture(scope="module")
def noisy() -> Tuning:
    runs, _ = sweep(np.random.default_rng(3))
    return tune(runs, draws=300)


@pytest.mark.parametrize("lean", [0.0, 0.3])
def test_without_noise_the_optima_and_the_law_are_exact(lean: float) -> None:
    runs, truth = sweep(np.random.default_rng(1), noise=0, drift=0, arms=4, lean=lean)
    found = tune(runs, draws=200)
    order = in_order(truth)
    rates = np.array([one.lr[1] for one in found.configurations])
    losses = np.array([one.loss for one in found.configurations])
    assert np.log(rates) == pytest.approx(truth.log_lr[order], abs=1e-3)
    assert losses == pytest.approx(truth.loss[order], rel=1e-4)
    assert found.lean[1] == pytest.approx(lean, abs=0.01)
    assert found.lr_law is not None
    assert found.lr_law.exponents["n"] == pytest.approx(LR_LAW[1], abs=1e-3)
    assert found.lr_law.exponents["d"] == pytest.approx(LR_LAW[2], abs=1e-3)
    assert float(found.lr_law(n=1e9, d=2e10)) == pytest.approx(
        LR_LAW[0] * 1e9 ** LR_LAW[1] * 2e10 ** LR_LAW[2], rel=0.01
    )


def test_three_arms_alone_give_their_parabola() -> None:
    rates = [0.001, 0.0024, 0.007]
    found = tune(one_model(rates, bowl(rates)), draws=400)
    (one,) = found.configurations
    assert one.usable
    assert one.status == ()
    assert one.lr[0] < 0.0031 < one.lr[2]
    assert one.lr[1] == pytest.approx(0.0031, rel=0.15)
    assert one.loss == pytest.approx(3.21, rel=0.005)
    assert one.grid_lr == pytest.approx(0.0024)
    assert found.lr_law is None


def test_the_unit_of_the_rate_and_the_order_of_the_runs_do_not_matter(noisy: Tuning) -> None:
    shuffled = noisy.runs[np.random.default_rng(9).permutation(len(noisy.runs))]
    scaled = tune(shuffled.replace(lr=shuffled.lr * 1000.0), draws=300)
    for one, other in zip(noisy.configurations, scaled.configurations, strict=True):
        assert other.lr[1] == pytest.approx(1000.0 * one.lr[1], rel=0.01)
        assert other.loss == pytest.approx(one.loss, rel=3e-4)
        assert (one.n, one.d, one.status) == (other.n, other.d, other.status)


def test_the_unit_of_the_loss_does_not_move_the_rate(noisy: Tuning) -> None:
    halved = tune(noisy.runs.replace(loss=noisy.runs.loss / 2), draws=300)
    for one, other in zip(noisy.configurations, halved.configurations, strict=True):
        assert other.lr[1] == pytest.approx(one.lr[1], rel=1e-6)
        assert other.loss == pytest.approx(one.loss / 2, rel=1e-6)
        assert other.sd == pytest.approx(one.sd / 2, rel=1e-6)


def test_a_seed_fixes_every_number(noisy: Tuning) -> None:
    again = tune(noisy.runs, draws=300)
    assert [one.lr for one in again.configurations] == [one.lr for one in noisy.configurations]
    other = tune(noisy.runs, draws=300, seed=1)
    assert [one.lr for one in other.configurations] != [one.lr for one in noisy.configurations]


def test_batch_is_found_to_be_swept_and_its_law_is_fitted() -> None:
    runs, truth = sweep(np.random.default_rng(5), arms=5, batches=4)
    found = tune(runs, draws=300)
    assert found.factors == ("lr", "batch")
    order = in_order(truth)
    rates = np.log([one.lr[1] for one in found.configurations])
    batches = np.log([one.batch[1] for one in found.configurations])
    assert rates == pytest.approx(truth.log_lr[order], abs=0.12)
    assert batches == pytest.approx(truth.log_batch[order], abs=0.25)
    assert found.batch_law is not None
    low, _, high = found.batch_law.exponent_intervals["d"]
    assert low < 0.55 < high
    best = found.best_runs()
    assert best.batch is not None
    assert np.log(best.batch) == pytest.approx(batches)


def test_weight_decay_may_be_swept_too() -> None:
    grid = [(lr, wd) for lr in RATES for wd in (0.03, 0.1, 0.3, 1.0)]
    losses = [bowl([lr])[0] * float(np.exp(0.01 * np.log(wd / 0.17) ** 2)) for lr, wd in grid]
    runs = one_model([lr for lr, _ in grid], losses, weight_decay=[wd for _, wd in grid])
    found = tune(runs, draws=300)
    assert found.factors == ("lr", "weight_decay")
    (one,) = found.configurations
    assert one.weight_decay[0] < 0.17 < one.weight_decay[2]
    assert one.weight_decay[1] == pytest.approx(0.17, rel=0.1)
    assert one.lr[1] == pytest.approx(0.0031, rel=0.1)


def test_a_setting_that_is_no_factor_splits_its_model() -> None:
    rates = RATES * 2
    losses = bowl(RATES, 0.0031, 3.21) + bowl(RATES, 0.0042, 3.14)
    runs = one_model(rates, losses, batch=[2**18] * 4 + [2**19] * 4)
    found = tune(runs, factors=["lr"], draws=300)
    assert len(found.configurations) == 2
    assert [one.lr[1] for one in found.configurations] == pytest.approx([0.0031, 0.0042], rel=0.05)
    best = found.best_runs()
    assert len(best) == 1
    assert best.batch is not None
    assert best.batch[0] == 2**19


@pytest.mark.parametrize(
    ("rates", "best", "reason", "mend"),
    [
        ([0.001, 0.002, 0.004], 0.0061, "highest rate (0.004)", "run lr = 0.008"),
        ([0.002, 0.004, 0.008], 0.0011, "lowest rate (0.002)", "run lr = 0.001"),
        ([0.004], 0.0031, "one rate", "run lr = 0.002 and 0.008"),
    ],
)
def test_an_edge_and_a_single_rate_are_undertuned(
    rates: list[float], best: float, reason: str, mend: str
) -> None:
    found = tune(one_model(rates, bowl(rates, best)), draws=300)
    (one,) = found.configurations
    assert one.status == (Status.UNDERTUNED,)
    assert reason in one.reason
    assert one.mend.endswith(mend)
    assert one.mend.startswith("at n = 130M, d = 2.70B run")
    assert found.status == (Status.UNDERTUNED,)
    assert found.undertuned.all()


def test_the_arm_that_mends_a_grid_mends_it() -> None:
    rates = [0.001, 0.002, 0.004]
    for _ in range(3):
        (one,) = tune(one_model(rates, bowl(rates, 0.0061)), draws=200).configurations
        if not one.status:
            break
        rates = [*rates, float(one.mend.rsplit("= ", 1)[1])]
    assert one.status == ()
    assert rates == [0.001, 0.002, 0.004, 0.008, 0.016]


def test_losses_that_do_not_bend_identify_nothing() -> None:
    flat = one_model(RATES, [3.2105, 3.2011, 3.2017, 3.2093], sd=None)
    noise = np.random.default_rng(0).standard_normal(8)
    noisy = one_model(RATES * 2, list(3.2 * np.exp(0.2 * noise)))
    assert tune(flat, draws=300).usable
    found = tune(noisy, draws=300)
    assert not found.usable
    with pytest.raises(UnidentifiedError, match="none of 1 configurations is tuned") as caught:
        found.check()
    assert caught.value.partial is found
    with pytest.raises(UnidentifiedError):
        found.best_runs()


def test_one_rate_everywhere_is_refused_with_the_rates_to_run() -> None:
    runs = Runs(n=[1e8, 3e8], d=[2e9, 5e9], loss=[3.3, 3.0], lr=[0.002, 0.002])
    found = tune(runs)
    assert found.undertuned.tolist() == [True, True]
    with pytest.raises(UnidentifiedError, match=r"run lr = 0.001 and 0.004"):
        found.check()


def test_the_same_run_twice_is_one_and_a_loss_under_two_rates_is_none() -> None:
    clean = tune(one_model(RATES, bowl(RATES)), draws=300)
    twice = tune(one_model([*RATES, 0.002], [*bowl(RATES), bowl(RATES)[1]]), draws=300)
    assert twice.configurations[0].lr == clean.configurations[0].lr
    assert any("1 runs are there twice" in note for note in twice.notes)
    wrong = [0.0005, 0.016]
    odd = one_model([*RATES, *wrong], [*bowl(RATES), 3.4444321, 3.4444321])
    assert tune(odd, draws=300).configurations[0].lr == clean.configurations[0].lr
    assert any("2 runs share their loss" in note for note in tune(odd, draws=300).notes)
    rounded = one_model([*RATES, 0.016], [*np.round(bowl(RATES), 3), round(bowl(RATES)[0], 3)])
    assert not tune(rounded, draws=300).notes


def test_a_gross_outlier_counts_as_if_it_were_not_there() -> None:
    runs, _ = sweep(np.random.default_rng(4), arms=7)
    clean = tune(runs, draws=300)
    losses = runs.loss.copy()
    where = int(clean.configurations[5].rows[4])
    losses[where] *= 1.08
    found = tune(runs.replace(loss=losses), draws=300)
    without = tune(runs[np.arange(len(runs)) != where], draws=300)
    one, other = without.configurations[5], found.configurations[5]
    assert abs(np.log(other.lr[1] / one.lr[1])) < 0.03
    assert other.loss == pytest.approx(one.loss, rel=1e-3)
    assert found.noise < 1.1 * without.noise


def test_a_model_with_two_arms_borrows_its_curvature() -> None:
    runs, truth = sweep(np.random.default_rng(8), arms=5)
    first = np.isclose(runs.n, truth.n[0]) & np.isclose(runs.d, truth.d[0])
    places = np.flatnonzero(first)
    kept = np.setdiff1d(np.arange(len(runs)), places[[0, 2, 4]])
    found = tune(runs[kept], draws=300)
    (one,) = [o for o in found.configurations if o.arms == 2]
    assert one.status == (Status.UNDERTUNED,)
    assert one.usable
    assert one.lr[0] < np.exp(truth.log_lr[0]) < one.lr[2]
    whole = tune(runs, draws=300).configurations[in_order(truth).tolist().index(0)]
    assert np.log(one.lr[2] / one.lr[0]) > np.log(whole.lr[2] / whole.lr[0])


def test_best_runs_is_a_table_to_fit(noisy: Tuning) -> None:
    best = noisy.best_runs()
    assert len(best) == len(noisy.usable) == 12
    assert best.loss == pytest.approx([one.loss for one in noisy.usable])
    assert best.sd == pytest.approx([one.sd for one in noisy.usable])
    assert best.lr == pytest.approx([one.lr[1] for one in noisy.usable])
    assert set(best.group) <= {"tuned", "undertuned"}
    kept = [one for one in noisy.usable if not one.status]
    assert len(noisy.best_runs(undertuned=False)) == len(kept)
    assert best.c == pytest.approx(6 * best.n * best.d)


def test_what_cannot_be_tuned_is_refused() -> None:
    runs = one_model(RATES, bowl(RATES))
    with pytest.raises(InputError, match="no learning rate"):
        tune(Runs(n=runs.n, d=runs.d, loss=runs.loss))
    with pytest.raises(InputError, match="have no 'batch'"):
        tune(runs, factors=["lr", "batch"])
    with pytest.raises(InputError, match="a factor is one of"):
        tune(runs, factors=["lr", "dropout"])
    with pytest.raises(InputError, match="lr is always a factor"):
        tune(one_model(RATES, bowl(RATES), batch=[1.0] * 4), factors=["batch"])
    with pytest.raises(InputError, match="level"):
        tune(runs, level=90)
    with pytest.raises(InputError, match="draws"):
        tune(runs, draws=10)


def test_a_law_weighs_its_optima_and_says_what_it_cannot_separate() -> None:
    random = np.random.default_rng(2)
    n, d = np.geomspace(1e7, 3e9, 8), np.array([3e8, 9e9, 1e9, 2e8, 7e9, 5e8, 2e9, 4e9])
    sds = np.where(np.arange(8) == 3, 2.0, 0.02)
    centres = 1.1 - 0.45 * np.log(n) + 0.12 * np.log(d)
    centres[3] += 2.5
    draws = centres + sds * random.standard_normal((2000, 8))
    law = tuning_law("lr", draws, n, d, ("n", "d"), 0.9, random)
    assert law is not None
    assert law.exponents["n"] == pytest.approx(-0.45, abs=0.02)
    assert law.exponents["d"] == pytest.approx(0.12, abs=0.02)
    low, mid, high = law.interval(n=1e8, d=1e9)
    assert low < mid < high
    assert float(law(n=1e8, d=1e9)) == pytest.approx(float(mid), rel=0.02)
    with pytest.raises(InputError, match="needs d"):
        law(n=1e8)
    with pytest.raises(InputError, match="needs d"):
        law.inside(n=1e8)
    assert law.inside(n=[1e8, 5e9], d=1e9).tolist() == [True, False]
    of_n = tuning_law("lr", draws, n, d, ("n",), 0.9, random)
    assert of_n is not None
    assert of_n.inside(n=[1e8, 5e9]).tolist() == [True, False]
    assert not of_n.inside(n=1e8, d=1e11)
    assert tuning_law("lr", draws[:, :3], n[:3], d[:3], ("n", "d"), 0.9, random) is None
    logs = np.log(n)
    assert separable({"n": logs, "d": np.log(20 * n)}) == ("n",)
    assert separable({"n": logs, "d": np.log(d)}) == ("n", "d")
    assert separable({"n": logs * 0 + 3.0, "d": np.log(d)}) == ("d",)


def test_the_rules_lie_beside_the_sweep_with_their_ranges(noisy: Tuning) -> None:
    rules = {check.rule.name: check for check in noisy.rules}
    step = rules["Step Law, rate"]
    assert step.values.shape == (12,)
    assert step.share_inside == float(step.inside.mean())
    own = np.array([one.lr[1] for one in noisy.configurations])
    assert step.ratio == pytest.approx(np.median(own / step.values))
    assert "n here is unknown" in step.note
    counted = tune(noisy.runs.replace(counts={"non_embedding": noisy.runs.n / 2}), draws=300)
    (half,) = [check for check in counted.rules if check.rule.name == "Step Law, rate"]
    assert half.note == ""
    assert half.values == pytest.approx(step.values * 2**0.713)
    assert rules["Porian, batch"].low == pytest.approx(
        2048 * 160 * (noisy.runs.n.min() / 108e6) ** (2 / 3)
    )


def test_exact_bowls_on_a_symmetric_grid_keep_their_arms() -> None:
    models = [(1.3e8, 2.7e9, 0.004), (5.1e8, 2.7e9, 0.002), (1.3e8, 1.1e10, 0.004)]
    for steps in ([-2, -1, 0, 1, 2], [-3, -1, 1, 3]):
        rows = [
            (n, d, best * 2.0**k, 3.2123456789 * (1.3e8 / n) ** 0.1 * float(np.exp(0.03 * k * k)))
            for n, d, best in models
            for k in steps
        ]
        n, d, lr, loss = np.array(rows).T
        found = tune(Runs(n=n, d=d, lr=lr, loss=loss), draws=200)
        assert len(found.usable) == len(models)
        assert not found.notes
        rates = {(one.n, one.d): one.lr[1] for one in found.usable}
        for size, tokens, best in models:
            assert rates[size, tokens] == pytest.approx(best, rel=0.02)


def test_best_runs_keeps_every_configuration_that_it_told_apart() -> None:
    sizes = 1.002e7 * np.array([0.994, 1.006])
    parts = [one_model(RATES, bowl(RATES, bottom=bottom)) for bottom in (3.21, 3.17)]
    runs = Runs.concat(
        [part.replace(n=np.full(4, n)) for part, n in zip(parts, sizes, strict=True)]
    )
    found = tune(runs, draws=300)
    assert len(found.usable) == 2
    assert found.best_runs().n == pytest.approx(sizes)


def test_one_factor_may_be_named_by_itself() -> None:
    assert tune(one_model(RATES, bowl(RATES)), factors="lr", draws=300).factors == ("lr",)


def test_the_arms_near_the_best_are_near_the_best_mean() -> None:
    rates = np.geomspace(1e-4, 1.6e-1, 9)
    x, y = np.log(np.repeat(rates, 2))[:, None], 0.02 * np.log(np.repeat(rates, 2) / 6e-3) ** 2
    y[-2] = -1.0  # one lucky run at the highest rate, and its unlucky twin
    y[-1] = 5.0
    best = int(np.argmin(y))
    assert best == 16
    assert np.exp(x[_near(x, y)].max()) < 4e-2


def test_the_section_of_a_bowl_has_curvature_one_and_leans_as_it_is_told() -> None:
    z = np.array([-1.3, 0.0, 0.4, 2.1])
    assert phi(z, 0.0) == pytest.approx(z**2 / 2, rel=1e-5)
    assert phi(z, 0.3) == pytest.approx((np.exp(0.3 * z) - 1 - 0.3 * z) / 0.09)
    assert phi(z, -0.3) == pytest.approx(phi(-z, 0.3))


def test_a_loss_that_no_setting_changes_is_refused() -> None:
    with pytest.raises(UnidentifiedError, match="check the loss column"):
        tune(one_model(RATES, [3.0] * 4), draws=100)
    lucky = one_model(RATES, [3.0, 2.9, 2.9, 3.1])
    assert tune(lucky, draws=100).configurations


def test_clean_sweeps_raise_no_doubt_of_their_runs(noisy: Tuning) -> None:
    assert [one.code for one in noisy.findings] == [Status.UNKNOWN_CONVENTION]
    assert not set(noisy.status) - {Status.UNDERTUNED}


@pytest.mark.parametrize("factor", [0.5, 5.0])
def test_a_gross_outlier_is_named_and_does_not_move_the_optimum(
    noisy: Tuning, factor: float
) -> None:
    loss = noisy.runs.loss.copy()
    row = int(noisy.configurations[2].rows[2])
    loss[row] *= factor
    spoiled = tune(noisy.runs.replace(loss=loss), draws=300)
    assert Status.OUTLIER in spoiled.status
    (seen,) = [one for one in spoiled.findings if one.code is Status.OUTLIER]
    assert f"run {noisy.runs.run[row]!s} (n " in seen.detail
    assert ("below the bowl" if factor < 1 else "above the bowl") in seen.detail
    other, one = spoiled.configurations[2], noisy.configurations[2]
    assert np.log(other.lr[1] / one.lr[1]) == pytest.approx(0.0, abs=0.15)


def test_perplexities_and_rates_in_no_unit_are_seen(noisy: Tuning) -> None:
    asked = tune(noisy.runs.replace(loss=np.exp(noisy.runs.loss)), draws=100)
    assert Status.NOT_NATS in asked.status
    for factor, count in ((1e6, len(noisy.runs)), (1e-6, len(noisy.runs))):
        odd = tune(noisy.runs.replace(lr=factor * noisy.runs.lr), draws=100)
        assert Status.ODD_RATES in odd.status
        (seen,) = [one for one in odd.findings if one.code is Status.ODD_RATES]
        assert seen.detail.startswith(f"{count} of {count} rates")
    assert Status.ODD_RATES not in tune(noisy.runs.replace(lr=10 * noisy.runs.lr), draws=100).status


def test_rates_below_zero_are_refused_as_such() -> None:
    with pytest.raises(InputError, match=r"no learning rate is above zero .* logarithms"):
        tune(one_model([-3.0, -2.5, -2.0], [3.2, 3.0, 3.1]))
