"""The next runs: what a proposal obeys, and that it does what it says."""

import numpy as np
import pytest

from isoloss.errors import InputError
from isoloss.fitting import fit
from isoloss.laws import Chinchilla, PowerLaw, allocate
from isoloss.planning.doubt.next_runs import propose_runs
from isoloss.runs import Runs
from isoloss.trust import Draws, bootstrap

TRUE = Chinchilla(E=1.72, A=430.0, B=1520.0, alpha=0.338, beta=0.351)
NOISE = 0.005


def study(n: np.ndarray, d: np.ndarray, seed: int) -> Runs:
    noise = NOISE * np.random.default_rng(seed).standard_normal(n.size)
    return Runs(n=n, d=d, loss=TRUE(n, d) * np.exp(noise))


def isoflop(budgets: list[float], sizes: int) -> tuple[np.ndarray, np.ndarray]:
    n = np.concatenate([float(allocate(TRUE, c).n) * np.geomspace(0.25, 4, sizes) for c in budgets])
    return n, np.repeat(budgets, sizes) / (6 * n)


@pytest.fixture(scope="module")
def draws() -> Draws:
    return bootstrap(fit(Chinchilla, study(*isoflop([1e18, 3e18, 1e19], 6), 1)), draws=300)


TARGET, SPEND = 1e21, 1e20


def test_a_proposal_keeps_to_what_it_was_given(draws: Draws) -> None:
    found = propose_runs(
        draws, target=TARGET, spend=SPEND, count=9, largest=2e19, smallest=1e18, ratio=10
    )
    assert len(found.runs) == 9
    assert found.flops == pytest.approx(sum(run.flops for run in found.runs))
    assert found.flops <= SPEND * (1 + 1e-9)
    for run in found.runs:
        assert 1e18 * (1 - 1e-9) <= run.flops <= 2e19 * (1 + 1e-9)
        assert run.flops == pytest.approx(6 * run.n * run.d)
        best = allocate(draws.fit, run.flops)
        away = (run.d / run.n) / (float(best.d) / float(best.n))
        assert 0.099 <= away <= 10.1
    assert len({(run.n, run.d) for run in found.runs}) == 9  # a repeat would be one cluster
    assert [run.flops for run in found.runs] == sorted((r.flops for r in found.runs), reverse=True)
    assert (
        propose_runs(
            draws, target=TARGET, spend=SPEND, count=9, largest=2e19, smallest=1e18, ratio=10
        )
        == found
    )


def test_left_to_itself_it_says_how_many(draws: Draws) -> None:
    found = propose_runs(draws, target=TARGET, spend=SPEND)
    assert 4 <= len(found.runs) <= 32
    assert max(run.flops for run in found.runs) <= SPEND / 4 * (1 + 1e-9)
    assert found.expected_width < 0.7 * found.width
    assert found.expected_excess < 0.5 * found.excess
    more = propose_runs(draws, target=TARGET, spend=10 * SPEND, largest=SPEND / 4)
    assert more.expected_width <= found.expected_width * 1.05
    near = propose_runs(draws, target=1e19, spend=SPEND)
    assert max(run.flops for run in near.runs) <= 1e19 * (1 + 1e-9)


def test_believing_the_law_everywhere_is_said_and_buys_smaller_runs(draws: Draws) -> None:
    limits = {"target": TARGET, "spend": SPEND, "count": 12, "largest": 2e19}
    trusting = propose_runs(draws, drift=0.0, **limits)  # type: ignore[arg-type]
    wary = propose_runs(draws, drift=0.02, **limits)  # type: ignore[arg-type]
    assert trusting.notes == ("assumes that the law holds at every size",)
    least = [min(run.flops for run in found.runs) for found in (trusting, wary)]
    assert least[0] < least[1] / 3
    assert trusting.expected_width < wary.expected_width / 3


def test_the_runs_narrow_the_interval_as_much_as_said(draws: Draws) -> None:
    """Do the whole study again and again: where the law holds, the promise must too."""
    found = propose_runs(draws, target=TARGET, spend=SPEND, count=12, largest=2e19, drift=0.0)
    n = np.array([run.n for run in found.runs])
    d = np.array([run.d for run in found.runs])
    begun = isoflop([1e18, 3e18, 1e19], 6)

    def width(runs: Runs, seed: int) -> float:
        again = bootstrap(fit(Chinchilla, runs), draws=200, seed=seed)
        low, _, high = again.interval(lambda law: np.log(np.asarray(allocate(law, TARGET).n)))
        return float(high - low)

    narrower = []
    for seed in range(10):
        old, new = study(*begun, 200 + seed), study(n, d, 100 + seed)
        joined = Runs(
            n=np.concatenate([old.n, new.n]),
            d=np.concatenate([old.d, new.d]),
            loss=np.concatenate([old.loss, new.loss]),
        )
        narrower.append(width(joined, seed) / width(old, seed))
    promised = found.expected_width / found.width
    assert promised < 0.5
    assert np.median(narrower) == pytest.approx(promised, rel=0.25)


def test_wrong_calls_are_refused(draws: Draws) -> None:
    def refused(message: str, **changes: object) -> None:
        with pytest.raises(InputError, match=message):
            propose_runs(draws, **{"target": TARGET, "spend": SPEND, **changes})  # type: ignore[arg-type]

    refused("spend is 5; give FLOPs", spend=5)
    refused("must rise", largest=2 * SPEND)
    refused("must rise", largest=1e18, smallest=2e18)
    refused("need no proposal", target=1e19, largest=2e19)
    refused("count is 0", count=0)
    refused("ask for fewer or smaller ones", count=90, largest=9e19, smallest=2e18)
    refused("ratio is 1", ratio=1)
    refused("drift is -1", drift=-1)
    runs = study(*isoflop([1e18, 3e18, 1e19], 6), 1)
    other = bootstrap(fit(PowerLaw, runs, x="c"), draws=100)
    with pytest.raises(InputError, match=r"law of \(n, d\)"):
        propose_runs(other, target=TARGET, spend=SPEND)
    assert len(propose_runs(draws, target=TARGET, spend=SPEND, count=1).runs) == 1


def test_a_run_costs_what_the_cost_says(draws: Draws) -> None:
    def dear(n: np.ndarray) -> np.ndarray:
        return 6.0 * np.asarray(n) + 1e5 * np.sqrt(n)

    found = propose_runs(draws, target=3e21, spend=1e20, count=6, cost=dear)
    assert found.flops <= 1e20 * (1 + 1e-9)
    for run in found.runs:
        assert run.flops == pytest.approx(float(dear(np.asarray(run.n))) * run.d)


def test_runs_far_smaller_than_any_there_is_are_not_promised_much(draws: Draws) -> None:
    least = float(np.asarray(draws.fit.runs.c).min())
    with pytest.raises(InputError, match=r"far smaller than any there is, from 1e\+18"):
        propose_runs(draws, target=TARGET, spend=1e15)
    found = propose_runs(draws, target=TARGET, spend=4 * least, count=4)
    assert min(run.flops for run in found.runs) >= 0.1 * least * (1 - 1e-9)
    asked = propose_runs(draws, target=TARGET, spend=1e15, smallest=1e12, count=4)
    assert any("only as good as the law there" in note for note in asked.notes)
    assert not any("only as good as the law there" in note for note in found.notes)


def test_more_runs_than_places_and_no_draws_are_refused(draws: Draws) -> None:
    with pytest.raises(InputError, match="count is 22, and between smallest and largest there are"):
        propose_runs(draws, target=TARGET, spend=SPEND, count=22, largest=1e18, smallest=1e18)
    with pytest.raises(InputError, match=r"needs draws of a fit: give bootstrap\(fit\)"):
        propose_runs(draws.fit, target=TARGET, spend=SPEND)  # type: ignore[arg-type]


def test_a_proposal_carries_the_doubts_of_its_fit() -> None:
    few = bootstrap(fit(Chinchilla, study(*isoflop([1e18, 1e19], 4), 1)), draws=200)
    found = propose_runs(few, target=TARGET, spend=SPEND, count=4)
    assert few.fit.status
    assert {status.value for status in few.fit.status} <= set(found.notes)
