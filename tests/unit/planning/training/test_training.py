"""How the model of a plan is trained: shape, batch, steps, rate, memory."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from isoloss.counting import Family, count_params, flops_per_token, training_memory
from isoloss.errors import InputError, Status
from isoloss.fitting import CriticalBatchFit, Crossings, critical_batch, fit, tune
from isoloss.laws import Chinchilla, CriticalBatch, allocate, published
from isoloss.laws.published_tuning import (
    PORIAN_BATCH,
    PORIAN_LR,
    STEP_LAW_BATCH,
    carried_batch,
    weight_decay,
)
from isoloss.planning import Estimate, Plan, Setup, Training, plan, plan_kaplan, published_plans
from isoloss.planning.training.training import training
from isoloss.runs import Runs
from isoloss.trust import bootstrap

TRUE = Chinchilla(E=1.8, A=480.0, B=2100.0, alpha=0.35, beta=0.37)


def of(found: Plan) -> Training:
    assert found.training is not None
    return found.training


def rule(found: Training, source: str, gives: str):
    (one,) = (one for one in found.rules if (one.source, one.gives) == (source, gives))
    return one


@pytest.fixture(scope="module")
def swept() -> Runs:
    """A sweep of rates and batches whose best rate is 0.3 n^-0.3, batch 3 d^0.5; simulated."""
    rows = []
    for n, d in ((1e6, 2e7), (3e6, 9e7), (1e7, 2e8), (3e7, 9e8)):
        best_lr, best_batch = 0.3 * n**-0.3, 3.0 * d**0.5
        for k in (-1.5, -0.75, 0, 0.75, 1.5):
            for j in (-1.5, 0, 1.5):
                bowl = 0.03 * k**2 + 0.02 * j**2
                loss = float(TRUE(n, d)) * (1 + bowl)
                rows.append((n, d, loss, best_lr * math.exp(k), best_batch * math.exp(j)))
    n, d, loss, lr, batch = np.array(rows).T
    noise = np.random.default_rng(3).normal(0, 0.001, n.size)
    return Runs(
        n=n, d=d, loss=loss * np.exp(noise), lr=lr, batch=batch, n_convention="non_embedding"
    )


def test_a_plan_names_a_shape_near_its_size() -> None:
    found = plan(published.HOFFMANN_2022, flops=1e21)
    shape = of(found).shape
    assert abs(shape.off) <= 0.02
    assert shape.n == count_params(shape.shape, "total")
    assert shape.asked == found.n.mid
    kaplan = of(plan_kaplan(1e21)).shape
    assert kaplan.n == count_params(kaplan.shape, "non_embedding")
    gpt2 = of(plan(published.HOFFMANN_2022, flops=1e21, setup=Setup(Family(style="gpt2"))))
    assert gpt2.shape.shape.norm == "layernorm"
    assert abs(gpt2.shape.off) <= 0.02


def test_a_shape_that_is_far_off_is_said_to_be() -> None:
    found = of(plan(published.HOFFMANN_2022, flops=1e13))
    assert not found.shape.close
    assert any("no shape of this vocabulary" in note for note in found.notes)


def test_inside_their_range_batch_and_rate_come_from_one_source() -> None:
    found = plan(published.HOFFMANN_2022, flops=1e20)
    how = of(found)
    assert (how.lr_by, how.batch_by) == ("Porian", "Porian")
    n = count_params(how.shape.shape, "non_embedding_plus_head")
    assert how.lr is not None
    assert how.batch is not None
    assert how.steps is not None
    assert how.lr.mid == pytest.approx(float(PORIAN_LR(n=n)))
    assert how.batch.mid == pytest.approx(float(PORIAN_BATCH.tokens(n=n)))
    assert how.steps.mid == pytest.approx(found.d.mid / how.batch.mid)
    assert how.lr.low is None
    step_law = rule(how, "Step Law", "batch")
    assert step_law.value is None
    assert step_law.steps is None
    assert "measured from 40.0B to 100B" in step_law.refused
    assert step_law.far == pytest.approx(4e10 / found.d.mid)


def test_outside_every_range_no_rule_is_followed_unless_forced() -> None:
    refused = of(plan(published.HOFFMANN_2022, flops=1e22))
    assert (refused.lr, refused.batch, refused.steps, refused.weight_decay) == (None,) * 4
    assert any("so none is followed" in note for note in refused.notes)
    found = plan(published.HOFFMANN_2022, flops=1e22, setup=Setup(force=True))
    forced = of(found)
    assert forced.lr_by == "Step Law"  # the least far outside
    assert forced.batch is not None
    assert forced.batch.mid == pytest.approx(float(STEP_LAW_BATCH(d=found.d.mid)))
    assert sum("a guess" in note for note in forced.notes) == 2


def test_a_batch_that_is_given_is_kept_and_weighed() -> None:
    how = of(plan(published.HOFFMANN_2022, flops=1e20, setup=Setup(batch=2**20)))
    assert how.batch is not None
    assert how.batch.mid == 2**20
    assert how.batch_by == "as given"
    for source in ("Kaplan", "Zhang"):
        critical = rule(how, source, "critical_batch")
        ratio = 2**20 / critical.value.mid
        assert critical.over_tokens == pytest.approx(1 + ratio)
        assert critical.over_steps == pytest.approx(1 + 1 / ratio)
    assert any("the rate is the best one for the batch of its own" in one for one in how.notes)
    with pytest.raises(InputError, match="batch is 0"):
        Setup(batch=0)


def test_kaplan_s_plan_takes_his_critical_batch() -> None:
    found = plan_kaplan(1e19)
    how = of(found)
    assert (how.lr_by, how.batch_by) == ("Kaplan", "Kaplan")
    assert how.steps is not None
    # Table 6: twice the least steps, 5.4e3 C_min^0.03, but for the rounding of the table.
    c_min = 0.5e19 / 8.64e19
    assert how.steps.mid == pytest.approx(2 * 5.4e3 * c_min**0.03, rel=0.06)
    assert rule(how, "Kaplan", "critical_batch").over_tokens == pytest.approx(2)


def test_the_end_of_kaplan_s_rate_is_said() -> None:
    how = of(plan_kaplan(1e23, setup=Setup(force=True)))
    rate = rule(how, "Kaplan", "lr")
    assert rate.value is None
    assert "gives no rate" in rate.refused


def test_an_own_sweep_goes_first_inside_its_range(swept: Runs) -> None:
    tuned = tune(swept, seed=0, draws=200)
    assert tuned.lr_law is not None
    assert tuned.batch_law is not None
    flops = 6 * 1e7 * 3e8
    found = plan(TRUE, flops=flops, max_params=1e7, setup=Setup(Family(256, 128), tuned=tuned))
    how = of(found)
    assert (how.lr_by, how.batch_by) == ("your sweep", "your sweep")
    assert how.lr is not None
    assert how.lr.low is not None
    n = count_params(how.shape.shape, "non_embedding")
    assert how.lr.low < 0.3 * n**-0.3 < how.lr.high
    assert how.batch is not None
    assert how.batch.low is not None
    assert how.batch.mid == pytest.approx(3.0 * found.d.mid**0.5, rel=0.03)
    assert how.batch.low < how.batch.mid < how.batch.high
    assert how.steps is not None
    assert how.steps == pytest.approx([found.d.mid / end for end in how.batch[::-1]])
    # Far beyond it the sweep's own law is refused too, and Power Lines carries its batch.
    far = of(plan(published.HOFFMANN_2022, flops=1e20, setup=Setup(tuned=tuned)))
    assert far.lr_by == "Porian"
    assert rule(far, "your sweep", "lr").value is None
    assert "tuned from" in rule(far, "your sweep", "lr").refused
    carried = rule(far, "Power Lines", "batch")
    largest = max(tuned.usable, key=lambda one: one.d)
    assert carried.value.mid == pytest.approx(
        float(carried_batch(largest.batch[1], largest.d, carried_at(far)))
    )


def carried_at(how: Training) -> float:
    batch = rule(how, "Porian", "batch")
    return batch.steps.mid * batch.value.mid


def test_draws_give_every_answer_an_interval() -> None:
    rng = np.random.default_rng(11)
    c = np.repeat(np.geomspace(1e18, 1e20, 5), 7)
    n = np.asarray(allocate(TRUE, c).n) * np.tile(np.geomspace(0.3, 3.5, 7), 5)
    d = c / (6 * n)
    runs = Runs(
        n=n,
        d=d,
        loss=TRUE(n, d) * np.exp(rng.normal(0, 0.003, n.size)),
        n_convention="non_embedding_plus_head",
    )
    found = plan(bootstrap(fit(Chinchilla, runs), draws=200, seed=5), flops=5e19)
    how = of(found)
    assert how.lr_by == "Porian"
    for value in (how.batch, how.steps, how.lr, how.weight_decay, how.memory, how.checkpoint):
        assert value is not None
        assert value.low is not None
        assert value.low < value.mid < value.high
    # Porian's batch rises with n and his rate falls, so that the ends change places.
    ends = [count_params(how.shape.shape) * end / found.n.mid for end in found.n[::2]]
    assert how.batch[::2] == pytest.approx(
        [float(PORIAN_BATCH.tokens(n=n)) for n in ends], rel=0.05
    )
    assert how.lr[::2] == pytest.approx([float(PORIAN_LR(n=n)) for n in ends[::-1]], rel=0.05)


def test_memory_says_how_many_devices_hold_the_model() -> None:
    one = plan(published.HOFFMANN_2022, booking="64xH100:72h", utilisation=0.4)
    how = of(one)
    states = training_memory(how.shape.shape).total
    assert how.memory.mid == states
    assert how.checkpoint.mid == states * 12 / 16
    assert how.weights.mid == states * 2 / 16
    assert how.devices == math.ceil(states / (80e9 - how.activations))
    few = of(plan(published.HOFFMANN_2022, booking="1xH100:5000h", utilisation=0.4))
    assert few.devices == 2
    assert any("do not fit on 1 H100" in note for note in few.notes)
    wide = Setup(Family(n_ctx=2**17))
    long = of(plan(published.HOFFMANN_2022, booking="64xH100:72h", utilisation=0.4, setup=wide))
    assert long.devices is None
    assert any("do not fit on one H100" in note for note in long.notes)


def test_the_cost_may_be_that_of_the_family_itself() -> None:
    family = Family(vocab=256, n_ctx=1024)
    plain = plan(TRUE, flops=1e18)
    exact = plan(TRUE, flops=1e18, cost=family.cost(convention="total"), setup=Setup(family))
    shape = of(exact).shape.shape
    assert flops_per_token(shape, "exact") * exact.d.mid == pytest.approx(1e18, rel=0.03)
    assert exact.d.mid < plain.d.mid
    assert exact.c_convention == "cost"


def test_units_that_cannot_be_are_noted() -> None:
    long = plan(published.HOFFMANN_2022, flops=1e21, max_params=1e7)
    assert any("tokens per parameter is far from any usual run" in one for one in long.notes)
    tiny = plan(published.HOFFMANN_2022, flops=1e10)
    assert any("above guessing among 32,000 tokens" in one for one in tiny.notes)
    for found in published_plans(1e21):
        assert not any("guessing" in one or "usual run" in one for one in found.notes)


def test_a_batch_in_sequences_or_beyond_the_run_is_refused() -> None:
    with pytest.raises(InputError, match="a sequence has 2048: give tokens, not sequences"):
        Setup(batch=512)
    with pytest.raises(InputError, match="batch is '512K'"):
        Setup(batch="512K")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="family is 'gpt2'; give a Family"):
        Setup(family="gpt2")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="give the tokens of one step"):
        plan(published.HOFFMANN_2022, flops=1e20, setup=Setup(batch=1e12))


def test_the_weight_decay_goes_with_the_rate_and_the_batch_at_each_end() -> None:
    n, d = Estimate(2e8, 4e8, 6e8), Estimate(5e9, 8e9, 1.6e10)
    how = training(n, d, "non_embedding_plus_head", Setup())
    assert how.weight_decay is not None
    ends = []
    for size, tokens in ((2e8, 1.6e10), (4e8, 8e9), (6e8, 5e9)):
        rate, batch = float(PORIAN_LR(n=size)), float(PORIAN_BATCH.tokens(n=size))
        ends.append(float(weight_decay(rate, batch, size, tokens)))
    assert tuple(how.weight_decay) == pytest.approx((min(ends), ends[1], max(ends)), rel=0.03)
    odd = of(plan_kaplan(1.4e19))
    assert odd.weight_decay is not None
    assert odd.weight_decay.mid > 0.5
    assert any("beyond any usual one" in note for note in odd.notes)


# A critical batch of one's own ------------------------------------------------------------------

MEASURED = CriticalBatch(b_star=2e8, alpha_b=0.21)


def scanned(seed: int = 0) -> CriticalBatchFit:
    """Steps to three losses at thirteen batches by that law, each run with a luck of its own."""
    batch = 2.0 ** np.arange(13, 27)
    target = np.array([3.5, 3.2, 2.9])
    luck = np.exp(0.05 * np.random.default_rng(seed).standard_normal(batch.size))
    steps = 5400 / (target - 1.7)[:, None] * (1 + MEASURED(target)[:, None] / batch) * luck
    rows = [np.repeat(target, batch.size), np.tile(batch, target.size), steps.ravel()]
    return critical_batch(Crossings.of(*rows))


def sized() -> Runs:
    """Runs of six sizes at four budgets each, with a little noise."""
    rng = np.random.default_rng(2)
    n = np.repeat(np.geomspace(1e7, 1e9, 6), 4)
    d = 20 * n * np.tile([0.3, 1.0, 3.0, 9.0], 6)
    loss = TRUE(n, d) * np.exp(0.004 * rng.standard_normal(n.size))
    return Runs(n=n, d=d, loss=loss, n_convention="total")


def own(found: Training):
    return rule(found, "your critical batch", "critical_batch")


def test_a_plan_follows_the_critical_batch_that_was_measured() -> None:
    found = plan(published.HOFFMANN_2022, flops=1e20, critical_batch=MEASURED)
    how, expected = of(found), float(MEASURED(found.loss.mid))
    assert how.batch_by == "your critical batch"
    assert how.batch == Estimate(None, pytest.approx(expected), None)
    assert how.steps == Estimate(None, pytest.approx(found.d.mid / expected), None)
    assert (own(how).over_tokens, own(how).over_steps) == pytest.approx((2, 2))
    assert own(how).least_tokens == pytest.approx(found.d.mid / 2)
    assert own(how).least_steps == pytest.approx(how.steps.mid / 2)
    assert any("twice the least tokens" in note for note in how.notes)
    same = plan(published.HOFFMANN_2022, flops=1e20, setup=Setup(critical_batch=MEASURED))
    assert of(same).batch == how.batch
    # The size, its tokens and its rate are as they were.
    plain = plan(published.HOFFMANN_2022, flops=1e20)
    assert (plain.n, plain.d, of(plain).lr) == (found.n, found.d, how.lr)


def test_another_batch_costs_what_kaplans_relations_say() -> None:
    setup = Setup(batch=4e6, critical_batch=MEASURED)
    found = plan(published.HOFFMANN_2022, flops=1e20, setup=setup)
    how, b_crit = of(found), float(MEASURED(found.loss.mid))
    assert how.batch_by == "as given"
    assert own(how).over_steps == pytest.approx(1 + b_crit / 4e6)
    assert own(how).over_tokens == pytest.approx(1 + 4e6 / b_crit)
    steps = found.d.mid / 4e6
    assert own(how).least_steps == pytest.approx(float(MEASURED.s_min(steps, 4e6, found.loss.mid)))
    assert own(how).least_tokens == pytest.approx(
        float(MEASURED.c_min(found.d.mid, 4e6, found.loss.mid))
    )


def test_the_doubt_of_the_fit_and_of_the_loss_is_in_the_batch() -> None:
    fitted = scanned()
    sharp = plan(published.HOFFMANN_2022, flops=1e19, critical_batch=fitted)
    low, mid, high = fitted.at(sharp.loss.mid)
    assert of(sharp).batch == pytest.approx((float(low), float(mid), float(high)))
    draws = bootstrap(fit(Chinchilla, sized()), draws=100, seed=0)
    wide = plan(draws, flops=1e20, critical_batch=fitted)
    batch, steps = of(wide).batch, of(wide).steps
    assert batch is not None
    assert steps is not None
    # Each doubt alone is narrower, and both at their worst at once would be wider.
    law = fitted.law
    assert law is not None
    middle = fitted.at(wide.loss.mid)
    for end, loss, alone in (
        (batch.low, wide.loss.high, middle.low),
        (batch.high, wide.loss.low, middle.high),
    ):
        both = [math.log(float(one) / batch.mid) for one in (law(loss), alone)]
        assert abs(math.log(end / batch.mid)) == pytest.approx(
            math.sqrt(both[0] ** 2 + both[1] ** 2)
        )
    assert batch.low > float(fitted.at(wide.loss.high).low)
    assert batch.high < float(fitted.at(wide.loss.low).high)
    assert steps.low < wide.d.mid / batch.mid < steps.high
    assert steps.low <= wide.d.low / batch.high * (1 + 1e-9)


def test_a_sweep_of_batches_goes_first_and_kaplans_plan_takes_yours(swept: Runs) -> None:
    setup = Setup(tuned=tune(swept, factors=["lr", "batch"]), critical_batch=MEASURED)
    assert of(plan(TRUE, flops=1e17, setup=setup)).batch_by == "your sweep"
    found = plan(published.KAPLAN_2020, flops=1e20, critical_batch=MEASURED)
    assert of(found).batch_by == "your critical batch"
    assert of(plan_kaplan(1e20)).batch_by == "Kaplan"
    assert not any("twice the least tokens" in note for note in of(found).notes)


def test_a_law_carried_beyond_its_losses_says_so() -> None:
    far = of(plan(published.HOFFMANN_2022, flops=1e23, critical_batch=scanned()))
    assert any("from losses of 2.9 to 3.5" in note for note in far.notes)
    near = of(plan(published.HOFFMANN_2022, loss=3.1, critical_batch=scanned()))
    assert not any("from losses" in note for note in near.notes)


def test_a_plan_says_what_its_critical_batch_is_doubted_for() -> None:
    fitted = scanned()
    doubtful = replace(fitted, status=(Status.WIDE_EXPONENT, Status.FEW_RUNS))
    notes = of(plan(published.HOFFMANN_2022, loss=3.1, critical_batch=doubtful)).notes
    for doubt in doubtful.status:
        assert f"of the fit of the critical batch: {doubt.value}" in notes
    notes = of(plan(published.HOFFMANN_2022, loss=3.1, critical_batch=fitted)).notes
    assert fitted.status == ()
    assert not any("of the fit" in note for note in notes)


def test_a_critical_batch_that_grows_with_the_loss_is_refused() -> None:
    """Found where the targets show nothing of the trend; its interval would be upside down."""
    batch = 2.0 ** np.arange(13, 27)
    target = np.array([3.5, 3.2, 2.9])
    steps = 5400 / (target - 1.7)[:, None] * (1 + 1e4 * target[:, None] ** 4 / batch)
    rows = [np.repeat(target, batch.size), np.tile(batch, target.size), steps.ravel()]
    rising = critical_batch(Crossings.of(*rows))
    assert rising.law is not None
    assert rising.law.alpha_b < 0
    for wrong in (rising, CriticalBatch(2e8, -0.25), CriticalBatch(2e8, math.nan)):
        with pytest.raises(InputError, match="falls"):
            Setup(critical_batch=wrong)


def test_a_critical_batch_that_cannot_be_followed_says_why() -> None:
    bits = fit(Chinchilla, sized().replace(loss_unit="bits per byte"))
    how = of(plan(bits, flops=1e20, critical_batch=MEASURED))
    assert "the plan's is in bits per byte" in own(how).refused
    assert own(how).value is None
    assert how.batch_by != "your critical batch"
    how = of(plan(TRUE, flops=1e15, critical_batch=CriticalBatch(1e14, 0.21)))
    assert "more than the whole run" in own(how).refused
    forced = plan(
        TRUE, flops=1e15, critical_batch=CriticalBatch(1e14, 0.21), setup=Setup(force=True)
    )
    assert of(forced).batch_by != "your critical batch"
    one = scanned()
    crossings = one.crossings.take(one.crossings.target == 3.2)
    with pytest.raises(InputError, match="one target loss"):
        Setup(critical_batch=critical_batch(crossings))
    for wrong in (2e6, "b_star=2e8", TRUE):
        with pytest.raises(InputError, match="give a CriticalBatch"):
            plan(TRUE, flops=1e17, critical_batch=wrong)  # type: ignore[arg-type]
