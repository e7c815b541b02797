"""Three approaches on the same runs: each right where it can be, each refused where it cannot."""

from __future__ import annotations

import math
from importlib import import_module

import numpy as np
import pytest

from isoloss.errors import InputError, Status
from isoloss.laws import Chinchilla, KaplanND, PowerLaw, allocate
from isoloss.runs import Runs
from isoloss.trust import approaches

LAW = Chinchilla(1.69, 406.4, 410.7, 0.40, 0.25)
TARGET = 1e22


def study(seed: int | None = 0, noise: float = 0.003) -> Runs:
    """Nine sizes at each of six budgets, the same sizes again from budget to budget."""
    sizes = np.geomspace(2e7, 5e9, 17)
    parts = []
    for c in np.geomspace(1e18, 1e21, 6):
        near = sizes[np.argsort(np.abs(np.log(sizes / allocate(LAW, c).n / 1.3)))[:9]]
        parts.append((near, c / (6 * near)))
    n, d = (np.concatenate(column) for column in zip(*parts, strict=True))
    loss = LAW(n, d)
    if seed is not None:
        loss = loss * np.exp(noise * np.random.default_rng(seed).standard_normal(len(n)))
    return Runs(n=n, d=d, loss=loss)


def test_without_noise_all_but_the_raw_parabolas_agree_with_the_truth() -> None:
    found = approaches(study(None), TARGET, draws=100)
    best = allocate(LAW, TARGET)
    one, two, corrected, three = found.approaches
    assert [one.name, two.name, corrected.name, three.name] == ["1", "2", "2 corrected", "3"]
    a = 0.25 / 0.65
    for approach, within in ((one, 0.06), (corrected, 1e-4), (three, 1e-4)):
        assert float(approach.n.mid) == pytest.approx(best.n, rel=within)
        assert float(approach.d.mid) == pytest.approx(best.d, rel=within)
        assert float(approach.a.mid) == pytest.approx(a, abs=0.3 * within)
        assert float(approach.b.mid) == pytest.approx(1 - a, abs=0.3 * within)
    off = float(two.n.mid) / best.n - 1
    assert abs(off) > 0.03
    assert found.isoflop_bias[0] == pytest.approx(off, rel=1e-3)
    assert found.disagreement > 1.03


def test_noise_gives_every_approach_an_interval_around_its_answer() -> None:
    found = approaches(study(), TARGET, draws=100)
    assert len(found.answered) == 4
    for approach in found.answered:
        for low, mid, high in (approach.a, approach.b, approach.n, approach.d):
            assert low < mid < high
    again = approaches(study(), TARGET, draws=100)
    assert again.approaches == found.approaches
    assert found.compatible


def test_of_many_runs_few_copies_are_made_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = approaches(study(), TARGET, draws=300)
    monkeypatch.setattr(import_module("isoloss.trust.approaches"), "_MOST_NOISE", 40 * 54)
    parts = approaches(study(), TARGET, draws=300)
    assert parts.approaches[3] == whole.approaches[3]
    for one, other in zip(parts.approaches[:3], whole.approaches[:3], strict=True):
        assert float(one.n.mid) == float(other.n.mid)
        ends = [float(end) for end in (one.n.low, one.n.high)]
        assert ends != [float(end) for end in (other.n.low, other.n.high)]
        assert math.log(ends[1] / ends[0]) == pytest.approx(
            math.log(other.n.high / other.n.low), rel=0.25
        )


@pytest.mark.full
def test_the_intervals_of_each_approach_cover() -> None:
    """90 % intervals of the best size at the target, over 60 studies with 0.3 % noise.

    Raw parabolas miss by their bias; the others hold within three binomial errors of 90 %.
    Approach 1 refuses where its frontier changes size fewer than three times: a miss.
    """
    true = allocate(LAW, TARGET).n
    inside = np.zeros(4)
    for seed in range(60):
        found = approaches(study(seed), TARGET, draws=100, seed=seed)
        inside += [
            a.n is not None and float(a.n.low) <= true <= float(a.n.high) for a in found.approaches
        ]
    share = inside / 60
    assert share[0] > 0.75
    assert (share[2:] > 0.78).all(), share


def test_what_the_runs_do_not_allow_is_refused_and_its_neighbours_stand() -> None:
    random = np.random.default_rng(5)
    # Forty sizes, no two of them within 1 %: each has one end.
    n, d = random.permutation(np.geomspace(3e7, 3e9, 40)), 10 ** random.uniform(9, 11, 40)
    loss = LAW(n, d) * np.exp(0.003 * random.standard_normal(40))
    found = approaches(Runs(n=n, d=d, loss=loss), draws=100)
    one, two, corrected, three = found.approaches
    assert found.flops == pytest.approx(60 * (n * d).max())
    assert "cool each size down" in one.refusal
    assert "three budgets" in two.refusal
    assert "three budgets" in corrected.refusal
    assert three.refusal == ""
    assert found.answered == (three,)
    assert np.isnan(found.disagreement)
    assert found.compatible


def test_a_law_that_the_runs_do_not_identify_leaves_no_interval_for_the_others() -> None:
    """Sizes along budgets, and losses that do not depend on tokens: the law has no optimum."""
    runs = study(None)
    flat = runs.replace(loss=3 + 0.02 * np.log(runs.n / 1e8 / (runs.c / 1e19) ** 0.4) ** 2)
    found = approaches(flat, TARGET, draws=100)
    if found.approaches[3].n is None:
        assert np.isnan(found.approaches[1].n.low)
        assert "the bias needs approach 3" in found.approaches[2].refusal
        assert np.isnan(found.isoflop_bias).all()
    assert float(found.approaches[1].a.mid) == pytest.approx(0.4, abs=1e-6)


def test_doubts_are_heard_even_of_a_law_that_is_refused() -> None:
    runs = study()
    clean = approaches(runs, TARGET, draws=100)
    edges = [budget for budget in clean.minima.budgets if not budget.usable]
    assert clean.status == (Status.EDGE_BUDGET,)
    told = [one.detail for one in clean.findings if one.code is Status.EDGE_BUDGET]
    assert told == [f"{edge.reason}; {edge.mend}" for edge in edges] != []
    odd = runs.replace(loss=np.where(np.arange(len(runs)) == 20, 2.0, 1.0) * runs.loss)
    found = approaches(odd, TARGET, draws=100)
    assert Status.OUTLIER in found.status
    assert Status.OUTLIER in {one.code for one in found.findings}
    one_size = runs.replace(n=np.full(len(runs), 1e12), c=runs.c)  # and fewer tokens than that
    refused = approaches(one_size, TARGET, draws=100)
    assert refused.approaches[3].n is None
    assert Status.SWAPPED in refused.status
    assert Status.SWAPPED in {one.code for one in refused.findings}
    assert Status.EDGE_BUDGET not in refused.status  # its refusal says it


def test_where_runs_are_grouped_as_budgets_approach_2_is_of_these() -> None:
    runs = study(None)
    strays = Runs(n=runs.n * 1.003, d=runs.d / 1.003, loss=1.05 * runs.loss)
    order = np.random.default_rng(0).permutation(2 * len(runs))
    group = np.array(["isoflop-1"] * len(runs) + ["grid"] * len(runs))[order]
    both = Runs(
        n=np.concatenate([runs.n, strays.n])[order],
        d=np.concatenate([runs.d, strays.d])[order],
        loss=np.concatenate([runs.loss, strays.loss])[order],
        group=group,
    )
    alone, found = (approaches(table, TARGET, draws=100) for table in (runs, both))
    assert [budget.runs for budget in found.minima.budgets] == [9] * 6
    assert all((group[budget.rows] == "isoflop-1").all() for budget in found.minima.budgets)
    assert found.approaches[1].n.mid == pytest.approx(alone.approaches[1].n.mid)
    mixed = approaches(both.replace(group=[""] * len(both)), TARGET, draws=100)
    assert [budget.runs for budget in mixed.minima.budgets] == [18] * 6


def test_wrong_calls_are_refused() -> None:
    with pytest.raises(InputError, match="flops"):
        approaches(study(), -1.0)
    with pytest.raises(InputError, match="law of"):
        approaches(study(), form=PowerLaw)
    found = approaches(study(None), TARGET, form=KaplanND, draws=100)
    assert found.approaches[3].how == "KaplanND law"
