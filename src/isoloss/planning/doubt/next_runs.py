"""Which runs to buy next: those that narrow the decision at the target most, for what they cost.

The size to train is a function of the law's coefficients, and a run narrows it by the leverage it
has on them. What is minimised is the variance of ln n* at the target as the plain fit of all runs
will have it, old and new,

    var = w' (sigma^2 I + K) w,    w = J' (J J')^-1 g,

with J the slopes of log loss in the coefficients at the runs, g those of ln n*, and K the
covariance of what the law gets wrong: a path in log compute and one in log tokens per parameter,
pinned at the target's optimum, so that runs far below the target, or far off balance, share errors
that no number of them averages out. A design that only believed the law would buy many tiny runs.

The excess compute of the decision goes with that variance. Runs are chosen one at a time and then
exchanged one for one until none is better elsewhere (Fedorov 1972).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from isoloss.errors import InputError, UnidentifiedError
from isoloss.laws import allocate
from isoloss.laws.allocation import per_token
from isoloss.laws.forms import Array
from isoloss.planning.doubt.decision import best_bet
from isoloss.planning.doubt.misfit import (
    DRIFT,
    best_size,
    error_weights,
    inverse,
    misfit,
    run_slopes,
)

if TYPE_CHECKING:
    from isoloss.laws import Cost
    from isoloss.trust import Draws

_RATIO = 20.0
_BELOW, _LEAST_FLOPS = 10.0, 1e6
_DEEPEST = 100.0
_BUDGETS, _BALANCES = 15, 21
_PASSES = 6
_COUNTS = (4, 6, 8, 12, 16, 24, 32)
_ENOUGH = 1.05
_BETTER = 1e-6


@dataclass(frozen=True)
class ProposedRun:
    """A run to buy: n parameters on d tokens, for flops = cost(n) d."""

    n: float
    d: float
    flops: float


@dataclass(frozen=True)
class Proposal:
    """The next runs for a decision, dearest first, and what they should do to it.

    target: FLOPs of the decision. flops: what the runs cost together, at most what there was.
    width: of the interval of ln n* at the target as it is, at `level`; expected_width: with the
    runs. excess, expected_excess: the compute that the decision is expected to waste, as a fraction
    of the target, as it is and with the runs. notes: what was assumed.
    """

    runs: tuple[ProposedRun, ...]
    target: float
    flops: float
    width: float
    expected_width: float
    excess: float
    expected_excess: float
    level: float
    notes: tuple[str, ...] = ()


def propose_runs(
    draws: Draws,
    *,
    target: float,
    spend: float,
    count: int | None = None,
    largest: float | None = None,
    smallest: float | None = None,
    ratio: float = _RATIO,
    level: float = 0.9,
    drift: float = DRIFT,
    cost: Cost | None = None,
) -> Proposal:
    """Propose the runs that narrow the choice of size at a target most for what there is to spend.

    draws: from `bootstrap`, of a law of (n, d). target, spend: FLOPs, of the run to decide on and
    of all proposed runs. count: how many runs; left out, the fewest that come within 5 % of the
    best tried, up to 32. largest: FLOPs of one run, at most the target, by default a quarter of
    `spend`. smallest: likewise, by default a hundredth of `largest`, but no less than a tenth of
    the smallest run there is, below which a law is hardly known. ratio: by how much d / n may
    differ from the law's best at that compute, either way. level: of the widths. drift: how far the
    law goes astray over one e-fold of compute or of d / n, in log loss; 0 believes it everywhere.
    cost: n -> FLOPs per token, default 6 n.
    Returns Proposal. Raises InputError for a wrong call, UnidentifiedError where the runs identify
    no optimum at the target.
    Source: c-optimal design by exchange (Fedorov 1972) with correlated misfit; measured in
    `benchmarks/next_runs`. Left out: learning rates, failed runs, the robust weights of the fit.
    """
    _check_draws(draws)
    largest = min(spend / 4.0, target) if largest is None else largest
    if smallest is None:
        known = _least_known(draws, largest) if largest >= _LEAST_FLOPS else 0.0
        smallest = max(largest / _DEEPEST, known)
    _refuse(draws, target, spend, count, largest, smallest, ratio, drift)
    problem = _Problem.of(draws, target, (smallest, largest), ratio, drift, cost)
    if count is not None and count > problem.n.size:
        raise InputError(
            f"count is {count}, and between smallest and largest there are {problem.n.size} places "
            "for a run: ask for fewer, or let the runs differ in compute"
        )
    if problem.least(count or 1) > spend:
        raise InputError(
            f"{count} runs cost {problem.least(count or 1):.3g} FLOPs or more, and there are "
            f"{spend:.3g} to spend: ask for fewer or smaller ones"
        )
    if count is not None:
        chosen = problem.chosen(count, spend)
    else:
        tried = [
            problem.chosen(k, spend)
            for k in _COUNTS
            if k <= problem.n.size and problem.least(k) <= spend
        ]
        values = [problem.variance(one) for one in tried]
        chosen = next(
            one for one, v in zip(tried, values, strict=True) if v <= _ENOUGH * min(values)
        )
    runs = sorted(
        (
            ProposedRun(float(problem.n[i]), float(problem.d[i]), float(problem.c[i]))
            for i in chosen
        ),
        key=lambda run: -run.flops,
    )
    now = best_size(draws, target, level=level, drift=drift, cost=cost)
    width = math.log((now.high or now.mid) / (now.low or now.mid))
    share = problem.variance(chosen) / problem.variance(())
    excess = best_bet(draws, target, cost=cost).excess
    return Proposal(
        runs=tuple(runs),
        target=target,
        flops=sum(run.flops for run in runs),
        width=width,
        expected_width=width * math.sqrt(share),
        excess=excess,
        expected_excess=excess * share,
        level=level,
        notes=_notes(draws, target, (smallest, largest), drift),
    )


def _check_draws(draws: object) -> None:
    from isoloss.trust import Draws

    if not isinstance(draws, Draws):
        raise InputError("propose_runs needs draws of a fit: give bootstrap(fit)")


def _least_known(draws: Draws, largest: float) -> float:
    """The FLOPs below which no run is proposed unless it is asked for."""
    least = float(np.asarray(draws.fit.runs.c).min())
    if largest < least / _BELOW:
        raise InputError(
            f"runs of at most {largest:.3g} FLOPs are far smaller than any there is, from "
            f"{least:.3g}: spend more, or say how small they may be with smallest= (--smallest)"
        )
    return least / _BELOW


@dataclass(frozen=True, eq=False)
class _Problem:
    """Places a run may have, (m,) n, d and c; slopes (q, r + m) at the r runs there are and then at
    the places, the decision's slopes (q,), and the covariance of errors between all of them."""

    n: Array
    d: Array
    c: Array
    slopes: Array
    decision: Array
    covariance: Array
    held: int

    @classmethod
    def of(
        cls,
        draws: Draws,
        target: float,
        span: tuple[float, float],
        ratio: float,
        drift: float,
        cost: Cost | None,
    ) -> _Problem:
        from isoloss.fitting.inspection import slope_of_best

        fit = draws.fit
        n, d = _places(draws, span, ratio, cost)
        used = fit.weights > 0
        all_n = np.concatenate([np.asarray(fit.runs.n)[used], n])
        all_d = np.concatenate([np.asarray(fit.runs.d)[used], d])
        slopes, unit = run_slopes(fit, all_n, all_d)
        decision = slope_of_best(fit.design, fit.coordinates, target)
        if decision is None:
            raise UnidentifiedError(f"the law has no best size at {target:.3g} FLOPs")
        covariance = misfit(fit, all_n, all_d, target, drift, cost=cost)
        covariance[np.diag_indices(len(all_n))] += float(np.mean(draws.noise**2))
        return cls(
            n=n,
            d=d,
            c=per_token(n, cost) * d,
            slopes=slopes,
            decision=decision / unit,
            covariance=covariance,
            held=int(used.sum()),
        )

    def least(self, count: int) -> float:
        """Return the FLOPs that so many runs cost at least."""
        return float(np.sort(self.c)[:count].sum())

    def chosen(self, count: int, spend: float) -> tuple[int, ...]:
        """Return the places of `count` runs that cost at most `spend` together."""
        found: list[int] = []
        left, cheapest = spend, np.sort(self.c)
        for number in range(count):
            # Of the places not yet taken, those still to come cost no more than this.
            reserve = float(cheapest[number + 1 : count].sum())
            found.append(self._best(found, left - reserve))
            left -= float(self.c[found[-1]])
        for _ in range(_PASSES):
            before = list(found)
            for number in range(count):
                rest = found[:number] + found[number + 1 :]
                free = left + float(self.c[found[number]])
                place = self._best(rest, free, found[number])
                left, found[number] = free - float(self.c[place]), place
            if found == before:
                break
        return tuple(found)

    def variance(self, places: tuple[int, ...]) -> float:
        """Return the variance of ln n* with runs at some of the places."""
        rows = np.concatenate([np.arange(self.held), self.held + np.array(places, dtype=np.intp)])
        part = self.slopes[:, rows]
        weights = error_weights(part, self.decision)
        return float(weights @ self.covariance[np.ix_(rows, rows)] @ weights)

    def _best(self, others: list[int], budget: float, now: int | None = None) -> int:
        """The place that leaves the least variance beside others; the present one unless better."""
        affordable = self.c <= budget * (1.0 + 1e-9)
        affordable[others] = False
        places = np.flatnonzero(affordable)
        values = self._variances(others, places)
        best = int(values.argmin())
        if now is not None:
            here = float(values[np.flatnonzero(places == now)[0]])
            if values[best] >= here * (1.0 - _BETTER):
                return now
        return int(places[best])

    def _variances(self, others: list[int], places: NDArray[np.intp]) -> Array:
        """The variance with one more run at each of the places, (t,)."""
        rows = np.concatenate([np.arange(self.held), self.held + np.array(others, dtype=np.intp)])
        more = self.held + places
        part, new = self.slopes[:, rows], self.slopes[:, more].T
        moment = (part @ part.T)[None] + new[:, :, None] * new[:, None, :]
        gain = self.decision @ inverse(moment)
        weight, covariance = (gain * new).sum(axis=1), self.covariance
        old = part @ covariance[np.ix_(rows, rows)] @ part.T
        across = (part @ covariance[np.ix_(rows, more)]).T
        value = ((gain @ old) * gain).sum(axis=1) + 2.0 * weight * (gain * across).sum(axis=1)
        return np.asarray(value + weight**2 * np.diag(covariance)[more])


def _places(
    draws: Draws, span: tuple[float, float], ratio: float, cost: Cost | None
) -> tuple[Array, Array]:
    """Sizes and tokens on a grid of compute and of d / n around the law's best."""
    budgets = np.geomspace(*span, _BUDGETS) if span[1] > span[0] else np.array([span[0]])
    best = allocate(draws.fit, budgets, cost=cost)
    balance = np.geomspace(1.0 / ratio, ratio, _BALANCES)
    n = np.asarray(best.n)[:, None] / np.sqrt(balance)
    d = budgets[:, None] / per_token(n, cost)
    return n.ravel(), d.ravel()


def _refuse(
    draws: Draws,
    target: float,
    spend: float,
    count: int | None,
    largest: float,
    smallest: float,
    ratio: float,
    drift: float,
) -> None:
    for name, value in (
        ("target", target), ("spend", spend), ("largest", largest), ("smallest", smallest)
    ):  # fmt: skip
        if not (math.isfinite(value) and value >= _LEAST_FLOPS):
            raise InputError(f"{name} is {value:g}; give FLOPs, such as 1e20")
    if draws.fit.form.variables != ("n", "d"):
        raise InputError("propose_runs needs draws of a law of (n, d), such as Chinchilla")
    if smallest > largest or largest > spend:
        raise InputError(
            f"smallest {smallest:.3g}, largest {largest:.3g} and spend {spend:.3g} must rise"
        )
    if largest > target:
        raise InputError(
            f"largest is {largest:.3g} and the target {target:.3g}: runs dearer than the one to "
            "decide on need no proposal"
        )
    if count is not None and not 1 <= count <= 100:
        raise InputError(f"count is {count}; propose 1 to 100 runs")
    if not (math.isfinite(ratio) and ratio > 1):
        raise InputError(f"ratio is {ratio:g}; give a factor above 1, such as 20")
    if not (math.isfinite(drift) and drift >= 0):
        raise InputError(f"drift is {drift:g}; give a fraction of the loss, such as 0.002, or 0")


def _notes(draws: Draws, target: float, span: tuple[float, float], drift: float) -> tuple[str, ...]:
    notes = ["expected of the plain fit of all runs, if the law is about right at every size"]
    if drift == 0:
        notes = ["assumes that the law holds at every size"]
    least, most = (float(end) for end in np.quantile(np.asarray(draws.fit.runs.c), [0.0, 1.0]))
    if span[0] < least / _BELOW:
        notes.append(
            f"runs may be as small as {span[0]:.3g} FLOPs, and the smallest there is has "
            f"{least:.3g}: what they promise is only as good as the law there"
        )
    most = max(most, span[1])
    if target > 100 * most:
        notes.append(f"the target is {target / most:.3g} times the largest run even so")
    return (*notes, *(status.value for status in draws.fit.status))
