"""The same runs counted otherwise: another law, another exponent, the same models."""

from __future__ import annotations

import numpy as np
import pytest
from simulated import demo_runs

from isoloss.errors import InputError, Status
from isoloss.laws import Chinchilla, PowerLaw, allocate
from isoloss.runs import Runs
from isoloss.trust import conventions
from isoloss.trust.conventions import _translated

LAW = Chinchilla(1.5, 480.0, 2100.0, 0.33, 0.30)


def counted_runs(noise: float = 0.0) -> Runs:
    """Total parameters follow the law; Kaplan's count leaves out 40,000 sqrt(n) of embeddings."""
    n, m = (a.ravel() for a in np.meshgrid(np.geomspace(2e7, 2e9, 8), np.geomspace(5, 160, 6)))
    total = n + 4e3 * np.sqrt(n)
    loss = LAW(total, total * m)
    loss = loss * np.exp(noise * np.random.default_rng(1).standard_normal(len(n)))
    return Runs(
        n=total,
        d=total * m,
        loss=loss,
        n_convention="total",
        counts={"non_embedding": n, "total": total},
        costs={"kaplan": 6 * n * total * m},
    )


def test_every_way_of_counting_has_a_row_and_the_given_one_is_first() -> None:
    found = conventions(Chinchilla, counted_runs(), 1e21, draws=100)
    ways = [(row.n_convention, row.c_convention) for row in found.rows]
    assert ways == [
        ("total", "6nd"),
        ("total", "kaplan"),
        ("non_embedding", "6nd"),
        ("non_embedding", "kaplan"),
    ]
    first = found.rows[0]
    assert float(first.n.mid) == pytest.approx(allocate(LAW, 1e21).n, rel=1e-6)
    assert float(first.a.mid) == pytest.approx(0.30 / 0.63, rel=1e-5)
    assert first.n_as_given == first.n
    assert float(first.d.mid) == pytest.approx(1e21 / 6 / allocate(LAW, 1e21).n, rel=1e-6)


def test_leaving_out_the_embeddings_raises_the_exponent() -> None:
    """Pearce & Song 2024: at small sizes Kaplan's count makes N* rise faster with compute."""
    found = conventions(Chinchilla, counted_runs(), 1e19, draws=100)
    total, kaplan = found.rows[0], found.rows[2]
    assert float(kaplan.a.mid) > float(total.a.mid) + 0.02
    assert float(kaplan.n_as_given.mid) > float(kaplan.n.mid)
    assert found.movement > 1.0
    noisy = conventions(Chinchilla, counted_runs(0.003), 1e19, draws=100)
    assert all(row.n.low < row.n.mid < row.n.high for row in noisy.rows)


def test_runs_from_records_are_counted_every_way() -> None:
    runs = demo_runs()
    found = conventions(Chinchilla, runs, draws=100)
    assert found.flops == pytest.approx(10 * runs.c.max())
    assert {row.n_convention for row in found.rows} == {runs.n_convention, *runs.counts}
    assert {row.c_convention for row in found.rows} == {*runs.costs}
    assert found.given == "non_embedding_plus_head"


def test_a_size_is_translated_between_the_runs_and_beyond_them() -> None:
    own = np.array([1e6, 2e6, 4e6, 8e6, 16e6])
    given = 3 * own**1.1
    n = np.array([1e5, 1e6, 3e6, 16e6, 1e9])
    assert _translated(n, own, given) == pytest.approx(3 * n**1.1)
    assert _translated(n, own, own) is n


def test_a_count_that_cannot_be_fitted_keeps_its_refusal() -> None:
    runs = counted_runs()
    runs = runs.replace(counts={"total": runs.n, "active": np.full(len(runs), 1e8)})
    found = conventions(Chinchilla, runs, 1e21, draws=100)
    refused = [row for row in found.rows if row.n_convention == "active"]
    assert all("n" in row.refusal and row.n is None for row in refused)
    assert found.rows[0].refusal == ""
    with pytest.raises(InputError, match="law of"):
        conventions(PowerLaw, runs)
    with pytest.raises(InputError, match="flops"):
        conventions(Chinchilla, runs, 0.0)


def test_doubts_are_told_once_whichever_count_shows_them() -> None:
    runs = counted_runs(0.003)
    clean = conventions(Chinchilla, runs, 1e21, draws=100)
    assert (clean.status, clean.findings) == ((), ())
    other = runs.replace(counts={**runs.counts, "active": 1e3 * runs.n})
    found = conventions(Chinchilla, other, 1e21, draws=100)
    assert found.status.count(Status.SWAPPED) == 1  # only as active parameters n is above d
    assert [one.code for one in found.findings].count(Status.SWAPPED) == 1
    odd = other.replace(loss=np.where(np.arange(len(other)) == 20, 2.0, 1.0) * other.loss)
    told = [one.code for one in conventions(Chinchilla, odd, 1e21, draws=100).findings]
    assert told[0] is Status.OUTLIER
    assert len(told) == len(set(told))
