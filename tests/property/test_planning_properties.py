"""The range of sizes that most draws agree on, against counting by brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from isoloss.laws import published
from isoloss.planning import plan, plan_kaplan
from isoloss.planning.doubt.decision import PROBABILITY, agreed_sizes

ranges = st.lists(
    st.tuples(st.integers(1, 30), st.integers(0, 25)).map(lambda r: (float(r[0]), float(sum(r)))),
    min_size=1,
    max_size=12,
)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(ranges)
def test_agreed_sizes_are_those_most_draws_hold(pairs: list[tuple[float, float]]) -> None:
    low, high = (np.array(end) for end in zip(*pairs, strict=True))

    def share(n: float) -> float:
        return float(np.mean((low <= n) & (n <= high)))

    fine = np.arange(0.0, 60.0, 0.25)
    found, notes = agreed_sizes(low, high)
    if found is None:
        assert notes
        assert max(share(n) for n in fine) < PROBABILITY
        return
    inside = fine[(fine >= found[0]) & (fine <= found[1])]
    assert all(share(n) >= PROBABILITY for n in inside)
    assert share(found[0] - 0.25) < PROBABILITY
    assert share(found[1] + 0.25) < PROBABILITY
    assert max(share(n) for n in inside) == max(share(n) for n in fine)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.floats(10.0, 27.9), st.floats(0.05, 2.0))
def test_more_compute_buys_more_of_both_and_less_loss(decade: float, more: float) -> None:
    small, large = 10.0**decade, 10.0 ** (decade + more)
    assume(large <= 1e28)
    for planner in (plan_kaplan, lambda c: plan(published.BESIROGLU_2024, flops=c)):
        a, b = planner(small), planner(large)
        assert b.n.mid > a.n.mid
        assert b.d.mid > a.d.mid
        assert b.loss.mid < a.loss.mid
        assert math.log(b.n.mid / a.n.mid) + math.log(b.d.mid / a.d.mid) == pytest.approx(
            more * math.log(10)
        )
