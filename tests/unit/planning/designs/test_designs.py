"""Designs of sweeps: what they spend, where they lie, and that the law comes back out of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from isoloss.counting import Family, count_params, flops_per_token
from isoloss.errors import InputError
from isoloss.fitting import fit, isoflop
from isoloss.laws import Chinchilla, allocate, published
from isoloss.laws.published_tuning import (
    DEEPSEEK_BATCH,
    DEEPSEEK_LR,
    KAPLAN_LR,
    PORIAN_LR,
    STEP_LAW_BATCH,
    STEP_LAW_LR,
)
from isoloss.planning import (
    Design,
    Recipe,
    grid_design,
    isoflop_design,
    kaplan_design,
    ladder_design,
)
from isoloss.runs import Runs

PLAIN = Recipe(c_convention="6nd")
SKEW = Chinchilla(E=1.69, A=406.4, B=410.7, alpha=0.34, beta=0.28)


@pytest.fixture(scope="module")
def curves() -> Design:
    return isoflop_design(1e20)


def runs_of(design: Design, law: Chinchilla, noise: float = 0.0) -> Runs:
    """The runs of a design, with the losses that a law gives them."""
    n = np.array([run.n for run in design.runs], float)
    d = np.array([run.d for run in design.runs], float)
    rng = np.random.default_rng(5)
    loss = law(n, d) * np.exp(noise * rng.standard_normal(len(n)))
    c = np.array([run.flops for run in design.runs])
    return Runs(n=n, d=d, loss=loss, c=c)


def every_design() -> dict[str, Design]:
    return {
        "isoflop": isoflop_design(1e20),
        "ladder": ladder_design(1e20, multiples=(0.5, 1.0, 4.0)),
        "grid": grid_design(1e20),
        "kaplan": kaplan_design(1e20),
    }


@pytest.fixture(scope="module")
def designs() -> dict[str, Design]:
    return every_design()


@pytest.mark.parametrize("kind", ["isoflop", "ladder", "grid", "kaplan"])
def test_every_run_is_what_it_says(designs: dict[str, Design], kind: str) -> None:
    design = designs[kind]
    assert design.kind == kind
    for run in design.runs:
        assert run.d == run.batch * run.steps == run.spec.tokens_seen == run.spec.tokens
        assert run.batch == run.spec.batch
        assert run.batch % 2048 == 0
        assert run.steps == run.spec.steps
        assert run.n == count_params(run.spec.shape, design.n_convention)  # type: ignore[arg-type]
        assert run.flops == flops_per_token(run.spec.shape, "exact") * run.d
        offs = [run.n / run.n_asked - 1]
        offs += [run.d / run.d_asked - 1] if run.d_asked else []
        offs += [run.flops / run.flops_asked - 1] if run.flops_asked else []
        offs += [run.batch / run.batch_asked - 1] if run.batch_asked else []
        assert run.off == pytest.approx(max(offs, key=abs))
        assert run.flagged == (abs(run.off) > 0.02)
    assert not design.flagged
    assert design.flops == pytest.approx(sum(run.flops for run in design.runs))
    assert design.flops == pytest.approx(1e20, rel=0.02)


def test_isoflop_curves_are_level_and_centred(curves: Design) -> None:
    groups = Counter(run.group for run in curves.runs)
    assert list(groups.values()) == [7] * 5
    levels = [
        [run for run in curves.runs if run.group == f"isoflop-{number}"] for number in range(1, 6)
    ]
    tops = [level[0].flops for level in levels]
    assert tops[-1] / tops[0] == pytest.approx(100, rel=0.03)
    assert all(b / a == pytest.approx(100**0.25, rel=0.03) for a, b in pairwise(tops))
    for level in levels:
        assert max(r.flops for r in level) / min(r.flops for r in level) < 1.03
        n = np.array([run.n for run in level])
        assert n[-1] / n[0] == pytest.approx(16, rel=0.05)
    # The middle size is the law's best at what these shapes cost, by a search over shapes.
    law, middle = published.BESIROGLU_2024, levels[-1][3]
    recipe = Recipe()
    budget = middle.flops
    sizes = middle.n * np.geomspace(0.3, 3, 61)
    shapes = [recipe.family.near(n).shape for n in sizes.tolist()]
    losses = [
        float(law(count_params(shape), budget / flops_per_token(shape, "exact")))
        for shape in shapes
    ]
    best = count_params(shapes[int(np.argmin(losses))])
    assert math.log(best / middle.n) == pytest.approx(0, abs=0.25)
    assert float(law(middle.n, middle.d)) == pytest.approx(min(losses), rel=2e-3)


def test_at_6nd_the_centre_is_the_closed_form() -> None:
    design = isoflop_design(7e19, recipe=PLAIN, budgets=1, sizes=7)
    middle = design.runs[3]
    best = allocate(published.BESIROGLU_2024, 1e19)
    assert middle.n_asked == pytest.approx(float(best.n), rel=2e-3)
    assert middle.flops == pytest.approx(1e19, rel=0.01)
    assert design.runs[0].n_asked == pytest.approx(middle.n_asked / 4)


@pytest.mark.parametrize(
    ("design", "says"),
    [
        (lambda: isoflop_design(1e19, sizes=1), "sizes= (--sizes) is 1: a curve shows"),
        (lambda: isoflop_design(1e19, budgets=2), "budgets= (--budgets) is 2: how the best size"),
        (lambda: ladder_design(1e19, sizes=2), "sizes= (--sizes) is 2: no law with a floor"),
        (lambda: grid_design(1e19, tokens=1), "tokens= (--tokens) is 1: no law of (n, d)"),
    ],
)
def test_a_design_of_too_few_says_what_it_leaves_unknown(
    design: Callable[[], Design], says: str
) -> None:
    (note,) = [note for note in design().notes if "3 or more" in note]
    assert note.startswith(says)


def test_the_law_comes_back_from_every_design_that_varies_n_and_d(
    designs: dict[str, Design],
) -> None:
    truth = published.BESIROGLU_2024.law
    assert isinstance(truth, Chinchilla)
    for kind in ("isoflop", "ladder", "grid"):
        found = fit(Chinchilla, runs_of(designs[kind], truth)).law
        for name, value in truth.coefficients().items():
            assert float(found.coefficients()[name]) == pytest.approx(float(value), rel=0.02), kind
    noisy = fit(Chinchilla, runs_of(designs["isoflop"], truth, noise=0.002)).law
    share = float(noisy.beta) / (float(noisy.alpha) + float(noisy.beta))
    assert share == pytest.approx(0.5126, abs=0.05)


def test_approach_two_on_a_centred_design_has_the_bias_that_was_published() -> None:
    """Czech et al. 2026: 15 sizes within 4x at budgets 1e17 to 1e21 put D* at 1e24 1.3 % low."""
    total = 15 * sum(10.0**k for k in range(17, 22))
    design = isoflop_design(
        total,
        law=SKEW,
        recipe=replace(PLAIN, family=Family(vocab=256, n_ctx=64)),
        sizes=15,
        span=1e4,
        tokens_per_param=(1e-3, 1e6),
    )
    assert [run.flops_asked for run in design.runs[::15]] == pytest.approx(
        [1e17, 1e18, 1e19, 1e20, 1e21]
    )
    found = isoflop(runs_of(design, SKEW))
    assert found.d_trend is not None
    truth = float(allocate(SKEW, 1e24).d)
    assert truth == pytest.approx(4.04e12, rel=0.01)
    error = float(found.d_trend(1e24)) / truth - 1
    assert error == pytest.approx(-0.013, abs=2e-3)


def test_a_ladder_has_the_laws_tokens_and_multiples_of_them() -> None:
    design = ladder_design(1e20, recipe=PLAIN, sizes=4, multiples=(0.5, 1.0, 3.0))
    assert Counter(run.group for run in design.runs) == {
        "ladder-0.5x": 4,
        "ladder-1x": 4,
        "ladder-3x": 4,
    }
    law = published.BESIROGLU_2024
    for run in design.runs:
        assert run.d_asked is not None
        multiple = float(run.group.removeprefix("ladder-").removesuffix("x"))
        best = allocate(law, 6 * run.n_asked * run.d_asked / multiple)
        assert float(best.n) == pytest.approx(run.n_asked, rel=5e-3)
    sizes = sorted({run.n_asked for run in design.runs})
    assert sizes[-1] / sizes[0] == pytest.approx(100)
    alone = ladder_design(1e19)
    assert any("n and d rise together" in note for note in alone.notes)


def test_a_grid_is_every_size_on_every_count_but_those_out_of_range() -> None:
    full = grid_design(1e20, sizes=3, tokens=4, span=4, tokens_span=9)
    assert len(full.runs) == 12
    assert len({run.n for run in full.runs}) == 3
    counts = sorted({run.d_asked or 0.0 for run in full.runs})
    assert len(counts) == 4
    assert counts[-1] / counts[0] == pytest.approx(9)
    cut = grid_design(1e20, tokens_per_param=(10, 60))
    assert 0 < len(cut.runs) < 25
    assert any("left out" in note for note in cut.notes)
    assert all(10 <= (run.d_asked or 0) / run.n_asked <= 60 for run in cut.runs)
    assert cut.flops == pytest.approx(1e20, rel=0.1)


def test_tokens_per_parameter_cut_curves_and_say_so() -> None:
    design = isoflop_design(1e20, tokens_per_param=(5, 100))
    ratios = [run.d / run.n for run in design.runs]
    assert 4.8 < min(ratios) < 5.3
    assert 95 < max(ratios) < 105
    beside = isoflop_design(1e20, tokens_per_param=(60, 1000))
    assert sum("cut before its minimum" in note for note in beside.notes) == 5
    with pytest.raises(InputError, match="tokens_per_param"):
        isoflop_design(1e20, tokens_per_param=(1e7, 2e7))


def test_kaplans_runs_are_as_long_as_his_fits_ask(designs: dict[str, Design]) -> None:
    design = designs["kaplan"]
    assert design.n_convention == "non_embedding"
    groups = Counter(run.group for run in design.runs)
    assert groups == {"sizes": 6, "data": 5, "batch-1": 5, "batch-2": 5}
    steps = published.KAPLAN_2020.loss_ns
    critical = published.KAPLAN_2020.critical_batch
    for run in design.runs:
        if run.group != "sizes":
            continue
        converged = (6.5e13 / run.n_asked) ** 0.077
        b_crit = float(critical(1.02 * converged))
        assert run.batch_asked == pytest.approx(b_crit)
        # At the critical batch half of the steps are worth a least step each (Eq. 5.4).
        assert run.d_asked is not None
        least = run.d_asked / b_crit / 2
        assert float(steps(run.n_asked, least)) == pytest.approx(1.02 * converged)
    top = max(run.n_asked for run in design.runs)
    parts = [run for run in design.runs if run.group == "data"]
    assert parts[0].unique_tokens == pytest.approx(5e3 * top**0.74, rel=1e-6)
    assert [(a.unique_tokens or 0) / (b.unique_tokens or 1) for a, b in pairwise(parts)] == (
        pytest.approx([4.0] * 4, rel=1e-3)
    )
    assert all(run.d >= (run.unique_tokens or 0) for run in parts)
    scan = [run for run in design.runs if run.group == "batch-1"]
    # All reach one loss: (S / S_min - 1) (E / E_min - 1) = 1, Eq. 5.1.
    e_min = [run.d_asked / (1 + run.batch_asked / scan[2].batch_asked) for run in scan]  # type: ignore[operator]
    assert e_min == pytest.approx([e_min[0]] * 5)
    assert scan[-1].batch_asked / scan[0].batch_asked == pytest.approx(16)  # type: ignore[operator]
    for run in design.runs:
        part = run.unique_tokens or 0
        assert (run.spec.unique_tokens, run.spec.patience > 0) == (part, part > 0)
        assert part == 0 or part >= run.batch
    assert any("stop early" in note for note in design.notes)


def test_parts_of_kaplans_design_may_be_left_out() -> None:
    sizes = kaplan_design(1e19, subsets=0, batches=0)
    assert {run.group for run in sizes.runs} == {"sizes"}
    assert sizes.specs == tuple(run.spec for run in sizes.runs)
    near = kaplan_design(1e19, subsets=0, batches=0, excess=0.05)
    assert max(r.n for r in near.runs) > 2 * max(r.n for r in sizes.runs)


def test_a_small_lattice_is_flagged_and_copies_are_left_out() -> None:
    tiny = Recipe(Family(vocab=256, n_ctx=64, style="gpt2"), lr=0.01)
    design = isoflop_design(1e11, recipe=tiny, budgets=1, sizes=24, width=8)
    said = " ".join(design.notes)
    assert design.flagged
    assert "more than 2 % off" in said
    assert "copies" in said
    assert "no shape is within a half" in said
    assert f"{design.flops / 1e11:.0%} of what was asked" in said
    assert len({run.spec.run_id for run in design.runs}) == len(design.runs) < 24
    for run in design.runs:
        assert 1 / 1.5 < run.n / run.n_asked < 1.5
        assert run.flops == pytest.approx(1e11 / 24, rel=0.02)
    with pytest.raises(InputError, match="smaller vocab"):
        isoflop_design(1e12)


def test_the_centre_may_be_any_law_or_kaplans_table() -> None:
    tilted = isoflop_design(1e20, law=Chinchilla(1.7, 400.0, 2000.0, 0.3, 0.4), recipe=PLAIN)
    assert tilted.centre == "Chinchilla"
    drawn = Chinchilla(
        *(np.full(3, x) for x in (1.7, 400.0, 2000.0)),
        np.array([0.29, 0.3, 0.31]),
        np.full(3, 0.4),
    )
    median = isoflop_design(1e20, law=drawn, recipe=PLAIN)
    assert [r.n_asked for r in median.runs] == pytest.approx([r.n_asked for r in tilted.runs])
    kaplan = isoflop_design(1e20, law=published.KAPLAN_2020, recipe=PLAIN, budgets=1, sizes=1)
    assert kaplan.runs[0].n_asked == pytest.approx(1.3e9 * (0.5e20 / 8.64e19) ** 0.73, rel=1e-3)
    assert any("counts parameters as non_embedding" in note for note in kaplan.notes)
    wide = isoflop_design(1e20, law=lambda n, d: 1.7 + 400 / n**0.3 + 2000 / d**0.4, recipe=PLAIN)
    assert wide.centre == "given function"
    assert [r.n for r in wide.runs] == [r.n for r in tilted.runs]


def test_rates_and_batches_follow_a_rule_or_a_number() -> None:
    fixed = isoflop_design(1e19, recipe=Recipe(lr=0.002, batch=65_536), budgets=2, sizes=3)
    assert {run.spec.lr for run in fixed.runs} == {0.002}
    assert {run.batch for run in fixed.runs if run.d > 7e6} == {65_536}
    assert not any("rates:" in note for note in fixed.notes)
    ruled = isoflop_design(1e20)
    run = ruled.runs[20]
    assert run.spec.lr == pytest.approx(0.0047 * (run.n / 108e6) ** (-1 / 3), rel=5e-3)
    assert run.batch == pytest.approx(160 * 2048 * (run.n / 108e6) ** (2 / 3), rel=0.02)
    step_law = Recipe(lr=STEP_LAW_LR, batch=STEP_LAW_BATCH)
    run = isoflop_design(1e20, recipe=step_law, budgets=2, sizes=3).runs[-1]
    inner = count_params(run.spec.shape, "non_embedding")
    assert run.spec.lr == pytest.approx(1.79 * inner**-0.713 * run.d**0.307, rel=5e-3)
    assert run.batch == pytest.approx(0.58 * run.d**0.571, rel=0.02)
    deepseek = Recipe(Family(style="gpt2"), lr=DEEPSEEK_LR, batch=DEEPSEEK_BATCH)
    run = isoflop_design(1e20, recipe=deepseek, budgets=1, sizes=1).runs[0]
    shape = run.spec.shape
    per_token = 72 * shape.n_layer * shape.d_model**2
    per_token += 12 * shape.n_layer * shape.d_model * shape.n_ctx
    assert run.spec.lr == pytest.approx(0.3118 * (per_token * run.d) ** -0.125, rel=5e-3)
    with pytest.raises(InputError, match="gives no rate"):
        isoflop_design(1e24, recipe=Recipe(lr=KAPLAN_LR), budgets=1, sizes=3)


def test_the_law_and_the_rules_beyond_their_range_say_so(curves: Design) -> None:
    assert any("measured from 1.4e+18" in note for note in curves.notes)
    assert any("not measured at 1 of the 35 runs" in note for note in curves.notes)
    inside = isoflop_design(1e22, budgets=2, sizes=3, span=4)
    assert not any("extrapolation" in note for note in inside.notes)


def test_short_runs_keep_a_hundred_steps_where_a_context_allows() -> None:
    design = isoflop_design(1e15, recipe=Recipe(Family(vocab=256, n_ctx=64), batch=2**17))
    assert min(run.steps for run in design.runs) >= 95


def test_hours_are_work_over_speed(curves: Design) -> None:
    assert curves.hours(1e15) == pytest.approx(curves.flops / 3.6e18)
    with pytest.raises(InputError, match="flops_per_second"):
        curves.hours(0)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: isoflop_design(1e3), "flops"),
        (lambda: isoflop_design(math.nan), "flops"),
        (lambda: isoflop_design(1e20, budgets=0), "budgets"),
        (lambda: isoflop_design(1e20, sizes=2.5), "sizes"),
        (lambda: isoflop_design(1e20, width=1), "width"),
        (lambda: isoflop_design(1e20, tokens_per_param=(5, 2)), "tokens_per_param"),
        (lambda: isoflop_design(1e20, law=published.KAPLAN_2020.loss_n), "loss|law"),
        (lambda: ladder_design(1e20, multiples=(0.0,)), "multiples"),
        (lambda: grid_design(1e20, tokens=True), "tokens"),
        (lambda: kaplan_design(1e20, excess=0), "excess"),
        (lambda: kaplan_design(1e20, sizes=0), "sizes"),
        (lambda: kaplan_design(1e10), "too few"),
        (lambda: Recipe(lr=-1), "lr"),
        (lambda: Recipe(lr=STEP_LAW_BATCH), "a rule for the batch"),
        (lambda: Recipe(batch=PORIAN_LR), "a rule for the lr"),
        (lambda: Family(style="gpt9"), "style"),
        (lambda: Family(n_ctx=0), "n_ctx"),
    ],
)
def test_wrong_calls_are_refused(call: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        call()  # type: ignore[operator]


def test_a_batch_that_is_not_the_one_given_is_told() -> None:
    kept = isoflop_design(1e19, recipe=Recipe(batch=65_536), budgets=2, sizes=3)
    assert not any("the batch is not" in note for note in kept.notes)
    lowered = isoflop_design(1e19, recipe=Recipe(batch=10**12), budgets=2, sizes=3)
    assert any(
        f"the batch is not 1.00T tokens in {len(lowered.runs)} of the {len(lowered.runs)} runs"
        in note
        for note in lowered.notes
    )
