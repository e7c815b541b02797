"""Plans for a loss, under caps, and in hours and dollars."""

import math

import numpy as np
import pytest

from isoloss.errors import InputError
from isoloss.fitting import fit
from isoloss.laws import Chinchilla, allocate, published
from isoloss.laws.required import compute_for_loss
from isoloss.planning import plan, plan_kaplan, published_plans
from isoloss.runs import Runs
from isoloss.trust import Draws, bootstrap

LAW = Chinchilla(E=1.72, A=430.0, B=1520.0, alpha=0.338, beta=0.351)


@pytest.fixture(scope="module")
def draws() -> Draws:
    n, d = np.meshgrid(np.geomspace(3e7, 1e9, 6), np.geomspace(6e8, 2e10, 6))
    noise = 0.003 * np.random.default_rng(1).standard_normal(n.size)
    runs = Runs(n=n.ravel(), d=d.ravel(), loss=LAW(n.ravel(), d.ravel()) * np.exp(noise))
    return bootstrap(fit(Chinchilla, runs), draws=200, seed=0)


def test_a_loss_takes_the_budget_that_buys_it() -> None:
    bought = plan(LAW, flops=3e21)
    asked = plan(LAW, loss=bought.loss.mid)
    assert asked.flops == pytest.approx(3e21, rel=1e-9)
    assert asked.n.mid == pytest.approx(bought.n.mid, rel=1e-6)
    assert asked.compute.mid == asked.flops
    kaplan = plan_kaplan(1e21)
    assert plan(published.KAPLAN_2020, loss=kaplan.loss.mid).n.mid == pytest.approx(kaplan.n.mid)
    with pytest.raises(InputError, match="no compute reaches a loss"):
        plan(LAW, loss=1.7)
    with pytest.raises(InputError, match=r"takes 3e\+21 FLOPs, more than the 1e\+21 that flops"):
        plan(LAW, loss=bought.loss.mid, flops=1e21)
    with pytest.raises(InputError, match="that pf_days allows"):
        plan_kaplan(loss=kaplan.loss.mid, pf_days=1)


def test_a_cap_on_parameters_trains_a_smaller_model_for_longer() -> None:
    free = plan(LAW, flops=1e22)
    capped = plan(LAW, flops=1e22, max_params=free.n.mid / 4)
    assert capped.n.mid == free.n.mid / 4
    assert 6 * capped.n.mid * capped.d.mid == pytest.approx(1e22)
    assert capped.loss.mid > free.loss.mid
    assert any("max_params holds n" in note for note in capped.notes)
    assert capped.near_optimal is None
    loose = plan(LAW, flops=1e22, max_params=10 * free.n.mid)
    assert loose.n == free.n
    # For a loss: the compute is what the capped size needs, more than the best size does.
    asked = plan(LAW, loss=capped.loss.mid, max_params=capped.n.mid)
    assert asked.flops == pytest.approx(1e22, rel=1e-6)
    assert asked.flops > float(compute_for_loss(LAW, capped.loss.mid))


def test_a_cap_on_tokens_trains_a_larger_model() -> None:
    free = plan(LAW, flops=1e22)
    capped = plan(LAW, flops=1e22, max_tokens=free.d.mid / 3)
    assert capped.d.mid == pytest.approx(free.d.mid / 3)
    assert capped.n.mid == pytest.approx(3 * free.n.mid)
    assert any("max_tokens holds n" in note for note in capped.notes)
    asked = plan(LAW, loss=capped.loss.mid, max_tokens=free.d.mid / 3)
    assert asked.flops == pytest.approx(1e22, rel=1e-6)
    # With a cost of its own: a token of a larger model costs more than 6 n.
    dear = plan(LAW, flops=1e22, max_tokens=free.d.mid / 3, cost=lambda n: 6 * n + 1e5 * np.sqrt(n))
    assert dear.d.mid == pytest.approx(free.d.mid / 3)


def test_both_caps_may_leave_budget_over_or_put_a_loss_out_of_reach() -> None:
    found = plan(LAW, flops=1e24, max_params=1e9, max_tokens=1e11)
    assert found.n.mid == 1e9
    assert found.d.mid == pytest.approx(1e11)
    assert found.flops == pytest.approx(6e20)
    assert any("unspent" in note for note in found.notes)
    with pytest.raises(InputError, match=r"more than max_params= \(--max-params\)"):
        plan(LAW, loss=2.0, max_params=1e9, max_tokens=1e11)


def test_draws_keep_to_the_caps_and_doubt_the_compute_of_a_loss(draws: Draws) -> None:
    free = plan(draws, flops=1e21)
    capped = plan(draws, flops=1e21, max_params=free.n.mid / 3)
    assert capped.n.mid == capped.n.high == free.n.mid / 3
    assert capped.expected_excess is not None
    assert free.expected_excess is not None
    assert capped.expected_excess > free.expected_excess
    target = float(allocate(LAW, 1e21).loss)
    asked = plan(draws, loss=target)
    assert asked.compute.low is not None
    assert asked.compute.high is not None
    assert asked.compute.low < 1e21 < asked.compute.high
    assert asked.flops == pytest.approx(float(np.median(compute_for_loss(draws.law, target))))
    low = plan(draws, loss=1.75)
    assert low.compute.high == math.inf  # some draws never reach it


def test_hardware_turns_compute_into_time_and_money() -> None:
    found = plan(LAW, booking="64xH100:72h", utilisation=0.4)
    assert found.hours is not None
    assert found.hours == (None, pytest.approx(72), None)
    assert found.gpu_hours == (None, pytest.approx(64 * 72), None)
    assert found.dollars is None
    assert found.pf_days.mid == pytest.approx(found.flops / 8.64e19)
    paid = plan(LAW, loss=2.2, hardware="H100", count=8, price=2.5, utilisation=0.4)
    assert paid.dollars is not None
    assert paid.gpu_hours is not None
    assert paid.hours is not None
    assert paid.dollars.mid == pytest.approx(2.5 * paid.gpu_hours.mid)
    assert paid.hours.mid == pytest.approx(paid.gpu_hours.mid / 8)
    assert plan(LAW, flops=1e21).gpu_hours is None
    assumed = plan(LAW, booking="64xH100:72h")
    assert any("of the peak is assumed" in note for note in assumed.notes)
    with pytest.raises(InputError, match="takes no caps"):
        plan(published.KAPLAN_2020, flops=1e21, max_params=1e9)


def test_a_cap_that_forbids_a_loss_is_named() -> None:
    with pytest.raises(InputError, match=r"no size reaches .* on 1.00B tokens: raise max_tokens="):
        plan(LAW, loss=2.2, max_tokens=1e9)
    with pytest.raises(InputError, match=r"10.0M parameters or fewer: raise max_params="):
        plan(LAW, loss=2.2, max_params=1e7)
    free = plan(LAW, loss=2.2)
    dear = plan(LAW, loss=2.2, max_tokens=free.d.mid / 2)
    more = dear.flops / free.flops - 1
    assert f"the caps raise the compute of this loss by {more:.0%}" in dear.notes
    assert not any("max_tokens holds" in note for note in dear.notes)
    both = plan(LAW, flops=1e21, max_params=7e9, max_tokens=1e6)
    assert not any("holds n" in note for note in both.notes)
    (hoffmann, _) = published_plans(1e21, max_params=1e9)
    assert any("Kaplan's tables know no caps" in note for note in hoffmann.notes)


def test_memory_to_serve_from_is_a_cap_on_parameters() -> None:
    found = plan(LAW, flops=1e24, serving_memory=16e9)
    assert found.n.mid == 8e9
    assert any(note.startswith("16 GB hold 8.00B weights of 2 bytes") for note in found.notes)
    tighter = plan(LAW, flops=1e24, serving_memory=16e9, max_params=1e9)
    assert tighter.n.mid == 1e9
    with pytest.raises(
        InputError, match=r"serving_memory= \(--serving-memory\) is 80, which trains nothing: check"
    ):
        plan(LAW, flops=1e24, serving_memory=80)


def test_a_loss_costs_time_and_money_as_uncertain_as_its_compute(draws: Draws) -> None:
    asked = plan(
        draws, loss=float(allocate(LAW, 1e21).loss), hardware="H100", count=8, price=2.0,
        utilisation=0.5,
    )  # fmt: skip
    assert asked.compute.low is not None
    assert asked.hours is not None
    assert asked.hours.low == pytest.approx(asked.compute.low / (8 * 989e12 * 0.5 * 3600), rel=1e-3)
    assert asked.dollars is not None
    assert asked.gpu_hours is not None
    assert asked.dollars.high == pytest.approx(2.0 * (asked.gpu_hours.high or 0))
    assert asked.pf_days.low == asked.compute.low / 8.64e19


def test_memory_to_serve_from_leaves_kaplan_out_as_any_cap_does() -> None:
    plans = published_plans(1e21, serving_memory=2e9)
    assert [one.source for one in plans] == ["Hoffmann 2022", "Besiroglu 2024"]
    assert all(one.n.mid == 1e9 for one in plans)
    assert all(any("no caps on n or d" in note for note in one.notes) for one in plans)


def test_what_binds_is_said_and_other_sizes_are_not_told_under_a_cap() -> None:
    found = plan(LAW, flops=1e25, gpu_hours=10, hardware="H100", utilisation=0.4)
    assert any("is the tightest of what was given, and binds" in note for note in found.notes)
    assert not any("binds" in note for note in plan(LAW, flops=1e21).notes)
    assert plan(LAW, flops=1e21, max_tokens=1e10).elsewhere == ()
    assert len(plan(LAW, flops=1e21).elsewhere) == 4
    with pytest.raises(InputError, match=r"precision= \(--precision\) needs hardware="):
        plan(LAW, flops=1e21, precision="fp8")


def test_a_forecast_that_is_not_the_loss_asked_for_is_told(draws: Draws) -> None:
    far = plan(draws, loss=1.80)
    if abs(far.loss.mid / 1.80 - 1) > 0.005:
        assert any("a new run there is expected at" in note for note in far.notes)
    near = plan(draws, loss=float(allocate(LAW, 3e20).loss))
    assert abs(near.loss.mid / float(allocate(LAW, 3e20).loss) - 1) < 0.005
    assert not any("a new run there is expected at" in note for note in near.notes)
