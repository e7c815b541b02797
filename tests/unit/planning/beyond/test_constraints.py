"""What else binds a plan: against the laws by hand, the papers' examples, and a search of draws."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import ArrayLike

from isoloss.errors import InputError
from isoloss.fitting import Fit, fit
from isoloss.laws import Chinchilla, DataConstrained, KaplanND, allocate, published
from isoloss.laws.forms import Array
from isoloss.laws.required import compute_at_size
from isoloss.planning import (
    Binding,
    Constrained,
    Plan,
    allocate_bits,
    allocate_experts,
    allocate_repeated,
    best_tokens,
    chinchilla_token_ratio,
    constrained,
    least_lifetime,
    overhead,
    overtraining,
    plan,
)
from isoloss.planning.estimate import sure
from isoloss.runs import Runs
from isoloss.trust import Draws, FittedLaw, bootstrap

SARDANA = Chinchilla(1.69, 406.4, 410.7, 0.336, 0.283)
TRUE = Chinchilla(E=1.8, A=480.0, B=2100.0, alpha=0.35, beta=0.37)
HOFFMANN = published.HOFFMANN_2022


def cost(n):  # type: ignore[no-untyped-def]
    return 6.0 * n * (1.0 + 1e3 / n**0.4)


def make_runs(**changes: object) -> Runs:
    rng = np.random.default_rng(23)
    budgets, around = np.geomspace(1e17, 1e19, 5), np.geomspace(0.3, 3.5, 7)
    c, ratio = (grid.ravel() for grid in np.meshgrid(budgets, around))
    n = np.asarray(allocate(TRUE, c).n) * ratio
    d = c / (6 * n)
    loss = TRUE(n, d) * np.exp(0.003 * rng.standard_normal(n.size))
    return Runs(n=n, d=d, loss=loss, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def fitted() -> Fit:
    return fit(Chinchilla, make_runs(n_convention="non_embedding"))


@pytest.fixture(scope="module")
def draws(fitted: Fit) -> Draws:
    return bootstrap(fitted, draws=200, seed=5)


@pytest.fixture(scope="module")
def drawn(draws: Draws) -> Plan:
    return plan(draws, flops=1e20, level=0.8)


def only(law: object, made: Plan, **asked: object) -> Constrained:
    (found,) = constrained(law, made, **asked)  # type: ignore[arg-type]
    return found


def test_sardana_s_model_of_30b_for_ten_trillion_tokens_served() -> None:
    """Sardana et al. 2023: 13.6B on 2.84 times the tokens, 28 % saved."""
    made = plan(SARDANA, flops=6 * 30e9 * float(best_tokens(SARDANA, 30e9)))
    found = only(SARDANA, made, served=1e13)
    assert found.free.n == pytest.approx(30e9, rel=1e-6)
    assert found.n.mid == pytest.approx(13.61e9, rel=1e-3)
    assert found.d.mid / found.free.d == pytest.approx(2.845, abs=1e-3)
    assert found.more["saving"].mid == pytest.approx(0.280, abs=1e-3)
    assert found.more["serving_flops"].mid == pytest.approx(2 * found.n.mid * 1e13)
    assert found.more["training_flops"].mid == pytest.approx(6 * found.n.mid * found.d.mid)
    assert SARDANA(found.n.mid, found.d.mid) == pytest.approx(found.loss.mid)
    assert (found.n.low, found.bounds) == (None, "")


@pytest.mark.parametrize("price", [None, cost])
@pytest.mark.parametrize("law", [HOFFMANN, published.KAPLAN_2020.loss_nd.law])
def test_no_other_size_is_cheaper_over_its_life(law, price) -> None:  # type: ignore[no-untyped-def]
    served, made = 3e12, plan(law, flops=1e21, cost=price)
    found = only(law, made, served=served, cost=price)
    each = price or (lambda n: 6 * n)

    def total(n: ArrayLike) -> Array:
        training = compute_at_size(law, n, made.loss.mid, cost=price)
        return np.asarray(training + each(n) / 3 * served)

    here = float(total(found.n.mid))
    assert np.all(total(found.n.mid * np.geomspace(0.1, 10, 101)) >= here * (1 - 1e-12))
    assert found.more["saving"].mid == pytest.approx(1 - here / float(total(made.n.mid)), rel=1e-9)
    assert found.more["saving"].mid > 0.02


def test_another_size_takes_what_de_vries_says() -> None:
    made = plan(HOFFMANN, flops=1e22)
    found = only(HOFFMANN, made, size_ratio=0.5)
    assert found.n.mid == pytest.approx(made.n.mid / 2)
    assert found.d.mid / made.d.mid == pytest.approx(float(chinchilla_token_ratio(HOFFMANN, 0.5)))
    excess = float(overhead(HOFFMANN, 1e22, 0.5).excess)
    assert found.more["excess_compute"].mid == pytest.approx(excess)
    assert round(excess, 2) == 0.21
    priced = plan(HOFFMANN, flops=1e20, cost=cost)
    dear = only(HOFFMANN, priced, size_ratio=3.0, cost=cost)
    wanted = float(overhead(HOFFMANN, 1e20, 3.0, cost=cost).excess)
    assert dear.more["excess_compute"].mid == pytest.approx(wanted, rel=1e-6)


def test_a_size_too_small_never_gets_there() -> None:
    found = only(HOFFMANN, plan(HOFFMANN, flops=1e22), size_ratio=0.09)
    assert found.d.mid == found.more["excess_compute"].mid == np.inf
    assert "reach that loss on no number of tokens" in found.notes[0]


@pytest.mark.parametrize("price", [None, cost])
def test_another_ratio_loses_what_overtraining_says(price) -> None:  # type: ignore[no-untyped-def]
    law = published.BESIROGLU_2024
    made = plan(law, flops=1e22, cost=price)
    found = only(law, made, tokens_per_param=300, cost=price)
    said = overtraining(law, 1e22, 300, cost=price)
    assert (found.n.mid, found.d.mid) == pytest.approx((float(said.n), float(said.d)))
    assert found.loss.mid == pytest.approx(float(law(found.n.mid, found.d.mid)))
    assert found.more["excess_loss"].mid == pytest.approx(found.loss.mid - made.loss.mid, abs=1e-7)
    assert found.more["excess_compute"].mid == pytest.approx(float(said.excess_compute), rel=1e-5)
    assert found.more["excess_compute"].mid > 0.3


def test_against_a_plan_that_is_capped_the_capped_one_is_held() -> None:
    made = plan(HOFFMANN, flops=1e22, max_params=2e9)
    ratio = made.d.mid / made.n.mid
    same = only(HOFFMANN, made, tokens_per_param=ratio)
    assert same.more["excess_compute"].mid == pytest.approx(0.0, abs=1e-9)
    better = only(HOFFMANN, made, tokens_per_param=ratio / 3)
    assert better.more["excess_loss"].mid < 0
    assert only(HOFFMANN, made, served=1e10).free.n == 2e9


def test_with_draws_the_size_served_is_of_least_expected_waste(draws: Draws, drawn: Plan) -> None:
    served = 2e12
    found = only(draws, drawn, served=served)
    assert found.bounds == "80% intervals"
    assert any("wrong beyond its runs" in note for note in found.notes)
    each = {k: np.asarray(v)[:, None] for k, v in draws.law.coefficients().items()}
    loss = draws.law(drawn.n.mid, drawn.d.mid)[:, None]  # every draw has its own
    sizes = found.n.mid * np.geomspace(0.2, 5, 2001)
    left = loss - each["E"] - each["A"] / sizes ** each["alpha"]
    with np.errstate(invalid="ignore", divide="ignore"):
        tokens = np.where(left > 0, (each["B"] / left) ** (1 / each["beta"]), np.inf)
    totals = 6 * sizes * tokens + 2 * sizes * served
    waste = np.minimum(totals / totals.min(axis=1, keepdims=True) - 1, 10.0).mean(axis=0)
    assert found.n.mid == pytest.approx(sizes[waste.argmin()], rel=0.02)
    optima = sizes[totals.argmin(axis=1)]
    assert found.n.low == pytest.approx(np.quantile(optima, 0.1), rel=0.02)
    assert found.n.high == pytest.approx(np.quantile(optima, 0.9), rel=0.02)
    at = np.abs(sizes - found.n.mid).argmin()
    assert found.d.mid == pytest.approx(np.median(tokens[:, at]), rel=0.02)
    assert found.d.low < found.d.mid < found.d.high  # type: ignore[operator]
    whole = drawn.flops + 2 * drawn.n.mid * served
    assert found.more["saving"].mid == pytest.approx(1 - np.median(totals[:, at]) / whole, abs=0.01)
    lone = least_lifetime(TRUE, float(TRUE(drawn.n.mid, drawn.d.mid)), served)
    assert found.n.mid == pytest.approx(lone.n, rel=0.2)  # the truth the runs were made from


def test_with_draws_other_sizes_and_ratios_have_intervals(draws: Draws, drawn: Plan) -> None:
    sized, ratio = constrained(draws, drawn, size_ratio=0.5, tokens_per_param=90.0)
    target = draws.law(drawn.n.mid, drawn.d.mid)
    each = draws.law.coefficients()
    left = target - each["E"] - each["A"] / (drawn.n.mid / 2) ** each["alpha"]
    tokens = (each["B"] / left) ** (1 / each["beta"])
    assert sized.n == sure(drawn.n.mid / 2)
    assert sized.d.mid == pytest.approx(np.median(tokens))
    excess = 6 * drawn.n.mid / 2 * tokens / drawn.flops - 1
    assert sized.more["excess_compute"].mid == pytest.approx(np.median(excess))
    low, high = sized.more["excess_compute"].low, sized.more["excess_compute"].high
    assert low == pytest.approx(np.quantile(excess, 0.1), rel=0.05)
    assert high == pytest.approx(np.quantile(excess, 0.9), rel=0.05)
    n = np.sqrt(drawn.flops / (6 * 90))
    assert (ratio.n.mid, ratio.d.mid) == pytest.approx((n, 90 * n))
    assert ratio.n.low is None
    over = draws.law(n, 90 * n) - target
    assert ratio.more["excess_loss"].mid == pytest.approx(np.median(over))
    run = draws.predict(n, 90 * n, level=0.8, kind="run")
    assert ratio.loss == pytest.approx((float(run.low), float(run.mid), float(run.high)))


def test_what_lies_beyond_the_runs_is_said(draws: Draws, drawn: Plan) -> None:
    most = float(np.max(draws.fit.runs.d / draws.fit.runs.n))
    far = only(draws, drawn, tokens_per_param=4 * most)
    assert any("tokens per parameter is 4 times the most of the runs" in n for n in far.notes)
    near = only(draws, drawn, tokens_per_param=most)
    assert not any("laws bend there" in note for note in near.notes)
    assert any("times the most measured" in note for note in near.notes)


def test_a_fit_alone_and_a_law_alone_answer_without_intervals(fitted: Fit) -> None:
    by_fit = only(fitted, plan(fitted, flops=1e20), served=1e12)
    by_law = only(fitted.law, plan(fitted.law, flops=1e20), served=1e12)
    assert by_fit.n == by_law.n
    assert by_fit.more == by_law.more
    assert by_fit.source != by_law.source
    assert not any("wrong beyond its runs" in note for note in (*by_fit.notes, *by_law.notes))


def test_kaplan_s_table_answers_only_what_other_papers_do() -> None:
    kaplan = published.KAPLAN_2020
    made = plan(kaplan, flops=1e21)
    asked: Binding = {"served": 1e12, "size_ratio": 0.5, "tokens_per_param": 50.0}
    assert constrained(kaplan, made, **asked) == ()
    asked["unique_tokens"] = 1e10
    found = constrained(kaplan, made, **asked)
    assert [one.constraint for one in found] == ["unique_tokens"]


def test_scarce_text_is_muennighoff_s_with_its_ranges() -> None:
    made = plan(HOFFMANN, flops=1e22)
    found = only(HOFFMANN, made, unique_tokens=25e9)
    said = allocate_repeated(published.MUENNIGHOFF_2023, 1e22, 25e9)
    assert found.source == "Muennighoff 2023"
    assert (found.n.low, found.n.high) == said.n_range
    assert found.n.mid == said.n
    assert (found.more["epochs"].low, found.more["epochs"].high) == said.epochs_range
    assert found.d.mid == pytest.approx(25e9 * found.more["epochs"].mid)
    assert found.d.high == pytest.approx(25e9 * found.more["epochs"].high)  # type: ignore[operator]
    assert found.more["worth"].mid == pytest.approx(said.worth)
    # (1 + Rd (1 - exp(-(k - 1) / Rd))) / k for the least and the greatest Rd.
    k = found.more["epochs"].mid
    for rd, end in ((10.0, found.more["worth"].low), (200.0, found.more["worth"].high)):
        assert (1 + rd * (1 - np.exp(-(k - 1) / rd))) / k == pytest.approx(end)
    assert found.more["next_epoch"].low == pytest.approx(np.exp(-(k - 1) / 10))
    assert "hardly bound Rd" in found.notes[0]
    assert "paper's own text" in found.notes[-1]


def test_with_text_enough_nothing_changes() -> None:
    made = plan(HOFFMANN, flops=1e21)
    found = only(HOFFMANN, made, unique_tokens=1e13)
    assert (found.n.mid, found.d.mid, found.loss.mid) == pytest.approx(found.free, rel=1e-6)
    assert found.more["epochs"].mid < 1
    assert found.more["worth"].mid == found.more["next_epoch"].mid == 1.0
    assert any("nothing is seen twice" in note for note in found.notes)
    scarce = only(HOFFMANN, made, unique_tokens=1e9)
    assert scarce.loss.mid > found.loss.mid
    assert scarce.free == found.free
    assert scarce.more["next_epoch"].mid < 0.05
    assert any("used up" in note for note in scarce.notes)
    assert not any("used up" in note for note in found.notes)


def test_scarce_text_by_a_fit_of_one_s_own() -> None:
    law = DataConstrained(1.9, 500.0, 1500.0, 0.35, 0.35, Rd=12.0, Rn=6.0)
    sample = {k: np.full(50, v) for k, v in law.coefficients().items()}
    sample["Rd"] = np.linspace(8.0, 16.0, 50)
    own = FittedLaw(law, np.full(40, 1e-3), "total", sample=sample)
    made = plan(HOFFMANN, flops=1e21)
    found = only(HOFFMANN, made, unique_tokens=5e9, unique_law=own, level=0.8)
    said = allocate_repeated(law, 1e21, 5e9)
    assert found.n.mid == said.n
    assert (found.source, found.n_convention) == ("fit of 40 runs", "total")
    assert found.bounds == "80% intervals"
    ends = [allocate_repeated(dataclasses.replace(law, Rd=rd), 1e21, 5e9).n for rd in (8.7, 15.3)]
    assert found.n.low == pytest.approx(min(ends), rel=0.02)
    assert found.n.high == pytest.approx(max(ends), rel=0.02)
    assert not any("paper's own text" in note for note in found.notes)
    bare = dataclasses.replace(own, sample={})
    without = only(HOFFMANN, made, unique_tokens=5e9, unique_law=bare)
    assert (without.n, without.bounds) == ((None, said.n, None), "")


def test_the_best_bits_by_both_forms_of_the_law() -> None:
    made = plan(HOFFMANN, flops=1e21)
    offsets, plain = constrained(HOFFMANN, made, bits="best")
    assert offsets.more["bits"].mid == pytest.approx(7.0, abs=0.01)
    assert plain.more["bits"].mid == pytest.approx(3.47, abs=0.01)
    said = allocate_bits(published.KUMAR_2024, 1e21)
    assert (plain.n.mid, plain.d.mid, plain.loss.mid) == (said.n, said.d, said.loss)
    full = allocate_bits(published.KUMAR_2024, 1e21, bits=16)
    assert plain.free == (full.n, full.d, full.loss)
    assert plain.loss.mid < plain.free.loss
    assert "7-8 bits" in offsets.notes[0]
    assert offsets.source != plain.source


def test_bits_of_which_a_form_leaves_nothing() -> None:
    made = plan(HOFFMANN, flops=1e21)
    found = only(HOFFMANN, made, bits=3)
    assert found.source == "Kumar 2024, training"
    assert found.question == "Trained in 3 bits"
    assert "nothing is left of a model in 3 bits" in found.notes[0]
    assert len(constrained(HOFFMANN, made, bits=4.0)) == 2


def test_flops_of_another_precision_are_marked() -> None:
    amounts = {"gpu_hours": 1e4, "hardware": "H100", "utilisation": 0.4}
    eight, half = (
        plan(HOFFMANN, **amounts, precision=name)  # type: ignore[arg-type]
        for name in ("fp8", "bf16")
    )
    assert any("those of fp8" in n for n in constrained(HOFFMANN, eight, bits=8.0)[0].notes)
    assert not any("convert" in n for n in constrained(HOFFMANN, half, bits=8.0)[0].notes)


def test_experts_are_krajewski_s_and_n_is_all_of_them() -> None:
    made = plan(HOFFMANN, flops=6.46e21)
    found = only(HOFFMANN, made, experts=True)
    said = allocate_experts(published.KRAJEWSKI_2024, 6.46e21)
    assert (found.n.mid, found.d.mid, found.loss.mid) == (said.n, said.d, said.loss)
    assert found.more["n_active"].mid == pytest.approx(7.1e9, rel=0.01)
    assert found.more["granularity"].mid == 32
    assert "n is all parameters" in found.notes[0]
    dense = allocate(published.KRAJEWSKI_2024_DENSE, 6.46e21)
    assert found.free == (dense.n, dense.d, dense.loss)
    assert not any("least or the greatest" in note for note in found.notes)
    least = only(HOFFMANN, plan(HOFFMANN, flops=1e10), experts=True)
    assert any("least or the greatest" in note for note in least.notes)


def test_a_cost_other_than_six_is_said_of_the_papers_laws() -> None:
    made = plan(HOFFMANN, flops=1e21, cost=cost)
    found = only(HOFFMANN, made, unique_tokens=1e9, cost=cost)
    assert found.n.mid == allocate_repeated(published.MUENNIGHOFF_2023, 1e21, 1e9).n
    plain = plan(HOFFMANN, flops=1e21, cost=lambda n: 6 * n)
    for asked in ({"unique_tokens": 1e9}, {"bits": 8.0}, {"experts": True}):
        for one in constrained(HOFFMANN, made, cost=cost, **asked):
            assert any("6 n d" in note for note in one.notes)
        for one in constrained(HOFFMANN, plain, **asked):
            assert not any("6 n d" in note for note in one.notes)


def test_all_at_once_in_their_order_and_nothing_for_nothing() -> None:
    made = plan(HOFFMANN, flops=1e21)
    assert constrained(HOFFMANN, made) == ()
    assert constrained(HOFFMANN, made, served=None, experts=False, bits=None) == ()
    found = constrained(
        HOFFMANN, made, experts=True, bits=8.0, unique_tokens=1e10, tokens_per_param=50.0,
        size_ratio=2.0, served=1e12,
    )  # fmt: skip
    assert [one.constraint for one in found] == [
        "served", "size_ratio", "tokens_per_param", "unique_tokens", "bits", "bits", "experts",
    ]  # fmt: skip
    assert all(one.flops == 1e21 for one in found)
    with pytest.raises(TypeError):
        found[0].more["saving"] = found[0].n  # type: ignore[index]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"served": -1.0}, "served is -1"),
        ({"served": float("nan")}, "served is nan"),
        ({"size_ratio": 0.0}, "size_ratio must be positive"),
        ({"size_ratio": 1e-12}, "less than one parameter"),
        ({"tokens_per_param": -5.0}, "^tokens_per_param must be positive"),
        ({"tokens_per_param": 1e25}, "tokens_per_param is 1e\\+25"),
        ({"tokens_per_param": 1e-25}, "trains nothing"),
        ({"unique_tokens": 0.0}, "^unique_tokens is 0;"),
        ({"bits": 0.0}, "bits must be positive"),
        ({"bits": float("nan")}, "bits must be positive"),
        ({"unique_law": object()}, "unique_law needs unique_tokens"),
        ({"unique_tokens": 1e9, "unique_law": TRUE}, "does not say what repeats are worth"),
        ({"serve": 1e9}, "no constraint 'serve'"),
    ],
)
def test_what_is_no_constraint_is_refused(asked, says) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=says):
        constrained(HOFFMANN, plan(HOFFMANN, flops=1e21), **asked)


def test_a_law_without_a_floor_is_answered_too() -> None:
    law = KaplanND(Nc=6.4e13, Dc=1.8e13, alpha_n=0.076, alpha_d=0.103)
    made = plan(law, flops=1e21)
    found = only(law, made, size_ratio=0.5)
    assert float(law(found.n.mid, found.d.mid)) == pytest.approx(made.loss.mid, rel=1e-9)


def test_answers_beyond_sense_are_doubted() -> None:
    law = published.HOFFMANN_2022
    base = plan(law, flops=1e22)
    (few,) = constrained(law, base, unique_tokens=1e4)
    assert any("above guessing" in note for note in few.notes)
    (long,) = constrained(law, base, tokens_per_param=1e5)
    assert any("far from any usual run" in note for note in long.notes)
    (usual,) = constrained(law, base, tokens_per_param=200)
    assert not any("usual run" in note or "guessing" in note for note in usual.notes)
    with pytest.raises(InputError, match=r"bits is 0\.1; give 1 to 64"):
        constrained(law, base, bits=0.1)


def test_a_cap_that_an_answer_does_not_keep_is_named() -> None:
    law = published.HOFFMANN_2022
    base = plan(law, flops=1e22, max_params=1e9)
    (found,) = constrained(law, base, tokens_per_param=20)
    assert found.n.mid > 1e9
    assert "the cap of 1.00B parameters is not kept here" in found.notes
    (kept,) = constrained(law, base, tokens_per_param=5000)
    assert not any("is not kept here" in note for note in kept.notes)
