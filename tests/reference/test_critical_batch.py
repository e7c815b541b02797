"""The critical batch, recovered from runs whose law is known."""

from __future__ import annotations

import numpy as np
import pytest

from isoloss.errors import InputError, Status, UnidentifiedError
from isoloss.fitting import Crossings, critical_batch, crossings, zhang_critical_batch
from isoloss.fitting.crossings import falling
from isoloss.laws import CriticalBatch, published
from isoloss.runs import Runs

LAW = CriticalBatch(b_star=60_000.0, alpha_b=0.3)
BATCHES = 2.0 ** np.arange(6, 18)
TARGETS = np.array([3.0, 2.7, 2.4, 2.2])


def least_steps(loss, n: float = 1e6):
    """Kaplan's L(N, S), turned: the steps a very large batch needs."""
    floor = 1.5 * (1e6 / n) ** 0.08
    return 2100.0 / (loss - floor) ** (1 / 0.76)


def steps_to(loss, batch, n: float = 1e6):
    return least_steps(loss, n) * (1 + LAW(loss) / batch)


def study(seed: int, *, run_noise=0.03, noise=0.01, batches=BATCHES, most=np.inf) -> Crossings:
    """Steps of one run per batch to every target, with a run's own luck and a reading's error."""
    random = np.random.default_rng(seed)
    target = np.tile(TARGETS, len(batches))
    batch = np.repeat(batches, len(TARGETS))
    luck = np.repeat(run_noise * random.standard_normal(len(batches)), len(TARGETS))
    error = luck + noise * random.standard_normal(len(target))
    steps = steps_to(target, batch) * np.exp(error)
    return Crossings.of(target, batch, np.minimum(steps, most), censored=steps > most)


def curves(batches=BATCHES, noise: float = 0.0, sizes=(1e6,), seed: int = 0) -> Runs:
    """Learning curves: the loss falls along its own steps to each loss."""
    random = np.random.default_rng(seed)
    parts = []
    for n in sizes:
        for batch in batches:
            loss = np.linspace(4.2, 2.0, 60)
            steps = steps_to(loss, batch, n)
            noisy = loss * np.exp(noise * random.standard_normal(60))
            parts.append(
                Runs(
                    n=np.full(60, n),
                    d=steps * batch,
                    loss=noisy,
                    steps=steps,
                    batch=np.full(60, batch),
                    run=[f"{n:g}-{batch:g}"] * 60,
                )
            )
    return Runs.concat(parts)


def test_without_noise_every_quantity_comes_back() -> None:
    found = critical_batch(study(0, run_noise=0.0, noise=0.0))
    assert found.status == ()
    assert found.law.b_star == pytest.approx(LAW.b_star, rel=1e-6)
    assert found.law.alpha_b == pytest.approx(LAW.alpha_b, rel=1e-6)
    assert found.target == pytest.approx(TARGETS)
    assert found.b_crit.mid == pytest.approx(LAW(TARGETS), rel=1e-6)
    assert found.s_min.mid == pytest.approx(least_steps(TARGETS), rel=1e-6)
    assert found.e_min.mid == pytest.approx(LAW(TARGETS) * least_steps(TARGETS), rel=1e-6)
    assert found.b_crit.high == pytest.approx(found.b_crit.low, rel=1e-4)


def test_kaplans_constants_come_back_from_his_relation() -> None:
    """B* 2.1e8 tokens and alpha_B 0.21 (Table 5); at 2.5 nats B* = 2e8 gives 2,547,285 tokens."""
    assert float(CriticalBatch(2e8, 0.21)(2.5)) == pytest.approx(2547285.206)
    law = published.KAPLAN_2020.critical_batch
    target = np.repeat([2.5, 3.0, 3.5], 13)
    batch = np.tile(2.0 ** np.arange(13, 26), 3)
    steps = 5.4e3 / (target - 1.7) * (1 + law(target) / batch)
    found = critical_batch(Crossings.of(target, batch, steps))
    assert found.law.b_star == pytest.approx(law.b_star, rel=1e-6)
    assert found.law.alpha_b == pytest.approx(0.21, rel=1e-6)


@pytest.mark.parametrize(
    ("studies", "least"), [(30, 0.73), pytest.param(200, 0.84, marks=pytest.mark.full)]
)
def test_intervals_cover_although_a_runs_targets_share_its_luck(studies, least) -> None:
    """90 % intervals: within three binomial errors of 90 %."""
    inside = {"b_crit": 0, "b_star": 0, "alpha_b": 0, "s_min": 0}
    for seed in range(studies):
        found = critical_batch(study(seed))
        inside["b_crit"] += bool(found.b_crit.low[1] <= LAW(TARGETS[1]) <= found.b_crit.high[1])
        inside["b_star"] += bool(found.b_star.low <= LAW.b_star <= found.b_star.high)
        inside["alpha_b"] += bool(found.alpha_b.low <= LAW.alpha_b <= found.alpha_b.high)
        true = least_steps(TARGETS[2])
        inside["s_min"] += bool(found.s_min.low[2] <= true <= found.s_min.high[2])
    for name, count in inside.items():
        assert least <= count / studies <= 1.8 - least, (name, count)


def test_runs_that_never_reach_a_target_still_count() -> None:
    """Half of the small-batch runs stop too early: without them only the lucky ones are left."""
    batch = np.array([64.0] * 10 + [4096.0] * 2 + [65536.0] * 2 + [131072.0] * 2)
    most = float(steps_to(2.4, 64.0))
    names = [str(number) for number in range(len(batch))]
    kept, dropped = [], []
    for seed in range(12):
        luck = 0.3 * np.random.default_rng(seed).standard_normal(len(batch))
        steps = steps_to(2.4, batch) * np.exp(luck)
        data = Crossings.of(
            np.full(len(batch), 2.4),
            batch,
            np.minimum(steps, most),
            censored=steps > most,
            run=names,
        )
        kept.append(np.log(_e_min(data)))
        dropped.append(np.log(_e_min(data.take(~data.censored))))
    true = np.log(LAW(2.4) * least_steps(2.4))
    assert np.mean(kept) == pytest.approx(true, abs=0.08)
    assert np.mean(dropped) < true - 0.2


def _e_min(data: Crossings) -> float:
    """The least tokens, whether or not the batches that are left span the critical one."""
    try:
        return float(critical_batch(data).e_min.mid[0])
    except UnidentifiedError as error:
        return float(error.partial.e_min.mid[0])


@pytest.mark.parametrize(
    ("batches", "says"),
    [
        (2.0 ** np.arange(10, 18), r"run batches of \d+ or fewer tokens"),
        (2.0 ** np.arange(5, 14), r"run batches of [\d.]+K or more tokens"),
        (2.0 ** np.arange(9, 14), r"or fewer and of [\d.]+K or more tokens"),
    ],
)
def test_batches_that_do_not_span_the_critical_one_are_refused(batches, says) -> None:
    with pytest.raises(UnidentifiedError, match=says) as caught:
        critical_batch(study(1, batches=batches))
    assert caught.value.partial.b_crit.mid == pytest.approx(LAW(TARGETS), rel=0.3)


def test_batches_all_on_one_side_name_the_other_side() -> None:
    with pytest.raises(UnidentifiedError, match="or more tokens"):
        critical_batch(study(2, batches=2.0 ** np.arange(0, 7)))
    with pytest.raises(UnidentifiedError, match="or fewer"):
        critical_batch(study(2, batches=2.0 ** np.arange(20, 27)))
    with pytest.raises(UnidentifiedError, match="five or more batches"):
        critical_batch(study(2, batches=BATCHES[::4]))


def test_one_target_gives_a_critical_batch_but_no_law() -> None:
    data = study(3)
    found = critical_batch(data.take(data.target == TARGETS[1]))
    assert found.law is None
    assert found.alpha_b is None
    assert found.b_crit.low[0] < LAW(TARGETS[1]) < found.b_crit.high[0]


def test_targets_too_close_together_leave_the_exponent_in_doubt() -> None:
    target = np.tile([2.70, 2.69], len(BATCHES))
    batch = np.repeat(BATCHES, 2)
    noise = 0.05 * np.random.default_rng(4).standard_normal(len(target))
    found = critical_batch(Crossings.of(target, batch, steps_to(target, batch) * np.exp(noise)))
    assert Status.WIDE_EXPONENT in found.status


def test_steps_are_read_off_smoothed_curves() -> None:
    data = crossings(curves(), TARGETS)
    assert len(data) == len(BATCHES) * len(TARGETS)
    assert data.steps == pytest.approx(steps_to(data.target, data.batch), rel=2e-3)
    noisy = crossings(curves(noise=0.01), TARGETS)
    off = np.log(noisy.steps / steps_to(noisy.target, noisy.batch))
    assert abs(off.mean()) < 0.01  # the first raw evaluation below a target is far earlier
    assert critical_batch(curves(), TARGETS).b_crit.mid == pytest.approx(LAW(TARGETS), rel=0.01)


def test_sizes_share_the_critical_batch_and_not_the_steps() -> None:
    found = critical_batch(curves(sizes=(1e6, 4e6)), TARGETS)
    assert len(found.target) == 8
    assert found.law.alpha_b == pytest.approx(LAW.alpha_b, rel=0.02)
    small, large = found.n == 1e6, found.n == 4e6
    assert (found.s_min.mid[large] < found.s_min.mid[small]).all()
    assert found.b_crit.mid[large] == pytest.approx(found.b_crit.mid[small])


def test_a_run_that_stops_short_is_censored_and_one_that_starts_below_is_left_out() -> None:
    whole = curves(batches=BATCHES[:2])
    short = whole[~((whole.batch == BATCHES[0]) & (whole.loss < 2.5))]
    data = crossings(short, [2.7, 2.4])
    missed = (data.target == 2.4) & (data.batch == BATCHES[0])
    assert len(data) == 4
    assert data.censored.tolist() == missed.tolist()
    assert data.steps[missed] == pytest.approx(short.steps[short.batch == BATCHES[0]].max())
    late = whole[(whole.batch == BATCHES[0]) | (whole.loss < 2.5)]
    assert len(crossings(late, [2.7, 2.4])) == 3
    assert len(np.unique(crossings(whole).target)) == 5


def test_a_falling_curve_is_the_closest_one() -> None:
    steps = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    log_steps, log_loss = falling(steps, np.exp([3.0, 2.0, 2.4, 1.0, 0.5]))
    assert log_loss == pytest.approx([3.0, 2.2, 1.0, 0.5])
    assert log_steps == pytest.approx(np.log([1.0, np.sqrt(8.0), 8.0, 16.0]))


def test_the_law_is_as_uncertain_at_a_loss_as_the_fit_is_there() -> None:
    """At a target it is the interval that the fit has there; far off it widens."""
    found = critical_batch(study(5))
    for place, target in enumerate(found.target):
        here = found.at(float(target))
        assert here.mid == pytest.approx(found.b_crit.mid[place])
        assert here.low == pytest.approx(found.b_crit.low[place], rel=1e-6)
        assert here.high == pytest.approx(found.b_crit.high[place], rel=1e-6)
    wide, narrow = found.at(0.5), found.at(2.5)
    assert wide.high / wide.low - 1 > 2 * (narrow.high / narrow.low - 1)
    assert found.at(2.5, level=0.5).low > narrow.low
    data = study(3)
    with pytest.raises(InputError, match="one target loss"):
        critical_batch(data.take(data.target == TARGETS[1])).at(2.5)
    for wrong in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(InputError, match="above 0, in nats"):
            found.at(wrong)


def test_a_fit_names_the_targets_that_its_batches_do_not_span() -> None:
    """At 3.0 nats B_crit is 1.5K, at 2.2 it is 4.3K: of batches from 256 only 3.0 is too near."""
    assert critical_batch(study(0)).short == ()
    with pytest.raises(UnidentifiedError, match="1 of 4 targets") as caught:
        critical_batch(study(0, run_noise=0.0, noise=0.0, batches=2.0 ** np.arange(8, 18)))
    assert caught.value.partial.short == ((1.0, 3.0),)
    # Spanned exactly is spanned: what the solver leaves of a digit does not count.
    exact = float(LAW(2.7)) * 8.0 ** np.linspace(-1, 1, 7)
    one = study(0, run_noise=0.0, noise=0.0, batches=exact)
    assert critical_batch(one.take(one.target == 2.7)).short == ()


def test_zhangs_critical_batch_is_the_papers() -> None:
    """CBS = (b + 5 a 1.2 B_opt) / (5 a), with B_opt = 256 sequences, and what it is made for."""
    a, b = np.array([3000.0, 4200.0]), np.array([2.1e6, 9.9e6])
    printed = (b + 5 * a * 1.2 * 256) / (5 * a)
    found = zhang_critical_batch(a, b, optimal=256)
    assert found == pytest.approx(printed)
    linear = (a + b / 256) * 256 / found
    assert a + b / found == pytest.approx(1.2 * linear)
    assert zhang_critical_batch(a, b, optimal=1e-9) == pytest.approx(0.2 * b / a)
    for wrong in ({"a": 0.0}, {"b": -1.0}, {"optimal": 0.0}, {"excess": np.nan}):
        with pytest.raises(InputError, match=f"{next(iter(wrong))} must be positive"):
            zhang_critical_batch(**{"a": 1.0, "b": 1.0, "optimal": 1.0, **wrong})


def test_zhangs_critical_batch_of_a_fit_is_by_its_steps() -> None:
    found = critical_batch(study(0, run_noise=0.0, noise=0.0))
    at = found.zhang()
    for target, batch in zip(found.target, at.mid, strict=True):
        linear = steps_to(target, BATCHES[0]) * BATCHES[0] / batch
        assert steps_to(target, batch) == pytest.approx(1.2 * linear, rel=1e-5)
    assert found.zhang(optimal=1e4).mid == pytest.approx(1.2e4 + 0.2 * found.b_crit.mid)
    noisy = critical_batch(study(5)).zhang(excess=0.5)
    assert (noisy.low < noisy.mid).all()
    assert (noisy.mid < noisy.high).all()


def test_wrong_input_is_refused_in_words() -> None:
    with pytest.raises(InputError, match="need 'steps'"):
        crossings(Runs(n=[1e6], d=[1e7], loss=[3.0]))
    with pytest.raises(InputError, match="no run reaches"):
        crossings(curves(), [1.0])
    bits = curves().replace(loss_unit="bits per byte")
    for call in (crossings, critical_batch):
        with pytest.raises(InputError, match="in bits per byte: convert"):
            call(bits, TARGETS)
    with pytest.raises(InputError, match="leave targets out"):
        critical_batch(study(0), [3.0])
    with pytest.raises(InputError, match="batch must be positive"):
        Crossings.of([3.0], [0.0], [10.0])
    with pytest.raises(InputError, match="level"):
        critical_batch(study(0), level=1.5)
