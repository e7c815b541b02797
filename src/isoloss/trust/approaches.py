"""Chinchilla's three approaches on the same runs, side by side, and how far they disagree.

Three ways to the best size that fail differently: the envelope of ends (1) rounds to the sizes
there are, the parabolas (2) are biased where profiles are lopsided or off centre, the law (3) is
wrong where its form is. Where they agree the answer does not hang on the method; where they do not,
that is the doubt to report. Approach 2 stands there twice: as published, and with its bias, as the
law shows it, divided out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from isoloss.errors import FitError, InputError, IsolossError, Status, UnidentifiedError
from isoloss.fitting import Finding, correct_isoflop, inspect_runs, isoflop
from isoloss.fitting.cost import paid_cost
from isoloss.fitting.frontier import frontier, resampled_trends
from isoloss.fitting.intervals import check_draws, check_level, check_reach, check_seed
from isoloss.fitting.isoflop import IsoFlop, parabola
from isoloss.fitting.isoflop_bias import CorrectedIsoFlop, vertex_shift
from isoloss.laws import Chinchilla, Law
from isoloss.laws.forms import Array
from isoloss.runs import Runs
from isoloss.trust.budgets import spend, target_of
from isoloss.trust.quantiles import Interval, interval
from isoloss.trust.trial import Trial, trial

_FEWEST_KEPT = 0.5
_FEWEST_BUDGETS = 3
_MOST_NOISE = 20_000_000
"""Numbers of noise drawn at a time: 160 MB."""


@dataclass(frozen=True)
class Approach:
    """What one approach says: n = k c ** a, d = k' c ** b, and both at the target.

    name, how: which it is. a, b: exponents; n: parameters, d: tokens at the target; each an
    interval, whose ends are NaN where nothing measures its noise. refusal: why there is no answer,
    with the run that would give one, and then the four are None.
    """

    name: str
    how: str
    a: Interval | None = None
    b: Interval | None = None
    n: Interval | None = None
    d: Interval | None = None
    refusal: str = ""


@dataclass(frozen=True)
class Approaches:
    """The approaches at one budget, in order: envelope, IsoFLOP, IsoFLOP corrected, law.

    flops: the target. level: of the intervals. isoflop_bias: by what fraction the uncorrected
    parabolas are off in n and d at the target, NaN if not known. minima: the budgets of approach
    2. status, findings: what the law of approach 3 is doubted for, as in `Fit`, even where it has
    no answer, and what the minima are.
    """

    flops: float
    level: float
    approaches: tuple[Approach, ...]
    isoflop_bias: tuple[float, float]
    minima: IsoFlop
    status: tuple[Status, ...] = ()
    findings: tuple[Finding, ...] = ()

    def named(self, name: str) -> Approach:
        """The one of a name: "1", "2", "2 corrected" or "3"."""
        return next(approach for approach in self.approaches if approach.name == name)

    @property
    def answered(self) -> tuple[Approach, ...]:
        """Those that have an answer."""
        return tuple(approach for approach in self.approaches if approach.n is not None)

    @property
    def disagreement(self) -> float:
        """The largest best size over the smallest; NaN with fewer than two answers."""
        sizes = [float(approach.n.mid) for approach in self.answered if approach.n is not None]
        return max(sizes) / min(sizes) if len(sizes) > 1 else float("nan")

    @property
    def compatible(self) -> bool:
        """Whether one best size lies in every interval that there is."""
        found = [a.n for a in self.answered if a.n is not None and np.isfinite(a.n.low)]
        return not found or bool(
            max(float(one.low) for one in found) <= min(float(one.high) for one in found)
        )


def approaches(
    runs: Runs,
    flops: float | None = None,
    *,
    form: type[Law] = Chinchilla,
    level: float = 0.9,
    draws: int = 400,
    seed: int = 0,
    tolerance: float = 0.05,
) -> Approaches:
    """Find the best size and tokens by each of Chinchilla's three approaches.

    runs: at their ends. flops: the target, by default ten times the largest run's. form: the law of
    approach 3, which also shows the bias of approach 2. level, draws, seed: of the intervals.
    tolerance: how far the compute of one budget may scatter, as in `isoflop`. Where groups of runs
    are named isoflop..., approach 2 is of these alone.
    The intervals of approach 3 are those of `bootstrap`; those of 1 and 2 come from noise drawn
    from its residuals and added to the losses, at fixed design. An approach that the runs do not
    allow keeps its refusal; its neighbours stand.
    Raises InputError for a wrong target, form, level, draws, seed or tolerance.
    Source: Hoffmann et al. 2022, section 3; bias of approach 2: Czech et al. 2026. Left out: the
    misfit of the law beyond the runs, which `backtest` shows.
    """
    check_level(level)
    check_draws(draws)
    check_seed(seed)
    check_reach(level, draws)
    target = target_of(runs, flops)
    if getattr(form, "variables", None) != ("n", "d"):
        raise InputError("the approaches need a law of (n, d), such as Chinchilla")
    minima = _minima(runs, tolerance)
    law = trial(form, runs, draws=draws, seed=seed)
    study = _Study(runs, target, level, minima, law, draws, seed)
    found = (
        _kept("1", "envelope of ends", _first, study),
        _kept("2", "IsoFLOP parabolas", _second, study),
        _kept("2 corrected", "parabolas without their bias", _corrected, study),
        _kept("3", f"{form.__name__} law", _third, study),
    )
    status, findings = _doubts(study, answered=found[1].n is not None)
    return Approaches(target, level, found, _bias(study), study.minima, status, findings)


@dataclass(frozen=True, eq=False)
class _Study:
    """What the approaches share: the runs, the target, and the law tried on them."""

    runs: Runs
    flops: float
    level: float
    minima: IsoFlop
    law: Trial
    draws: int
    seed: int

    def noises(self) -> Iterator[Array]:
        """Noise from the law's residuals to add to the log losses: (k, m), k draws at a time.

        The more runs, the fewer draws, so that they fit in memory; the same noise on every call.
        Nothing where the law was refused.
        """
        if self.law.draws is None:
            return
        size = max(1, _MOST_NOISE // len(self.runs))
        for part, first in enumerate(range(0, self.draws, size)):
            # The first part keeps the seed that it has where it is the only one.
            random = np.random.default_rng([self.seed, 2, *([part] if part else [])])
            shape = min(size, self.draws - first), len(self.runs)
            noise = random.choice(self.law.draws.noise, size=shape)
            yield noise * random.choice([-1.0, 1.0], size=shape)

    @cached_property
    def corrected(self) -> CorrectedIsoFlop | None:
        """The minima with their bias, as the law shows it, divided out."""
        if self.law.draws is None:
            return None
        return correct_isoflop(self.minima, self.runs, law=self.law.draws.fit)


def _minima(runs: Runs, tolerance: float) -> IsoFlop:
    """Approach 2 on the runs grouped as IsoFLOP budgets, or on all where none are grouped so."""
    grouped = np.flatnonzero(np.char.startswith(runs.group, "isoflop"))
    if not len(grouped):
        return isoflop(runs, tolerance=tolerance)
    found = isoflop(runs[grouped], tolerance=tolerance)
    budgets = (replace(budget, rows=grouped[budget.rows]) for budget in found.budgets)
    return replace(found, budgets=tuple(budgets))


_Answer = tuple[Interval, Interval, Interval, Interval]


def _kept(name: str, how: str, find: Callable[[_Study], _Answer], study: _Study) -> Approach:
    try:
        a, b, n, d = find(study)
    except IsolossError as error:
        return Approach(name, how, refusal=str(error))
    return Approach(name, how, a, b, n, d)


def _first(study: _Study) -> _Answer:
    found = frontier(study.runs)
    values = [resampled_trends(study.runs, noise, study.flops) for noise in study.noises()]
    return _answer(_mids(found.c, found.n, found.d, study.flops), values, study.level)


def _second(study: _Study) -> _Answer:
    found = study.minima.check()
    c = np.array([budget.c for budget in found.usable])
    n = np.array([budget.n_opt for budget in found.usable])
    d = np.array([budget.d_opt for budget in found.usable])
    values = [
        _trends(c, *_vertices(found, study.runs, noise), study.flops) for noise in study.noises()
    ]
    return _answer(_mids(c, n, d, study.flops), values, study.level)


def _corrected(study: _Study) -> _Answer:
    found, corrected, model = study.minima.check(), study.corrected, study.law.draws
    if model is None or corrected is None:
        raise FitError(f"the bias needs approach 3: {study.law.refusal}")
    good = np.isfinite(corrected.n_opt) & np.isfinite(corrected.d_opt)
    if good.sum() < _FEWEST_BUDGETS:
        raise UnidentifiedError("the law shows a minimum at fewer than three of the budgets")
    c = np.array([budget.c for budget in found.usable])[good]
    mids = _mids(c, corrected.n_opt[good], corrected.d_opt[good], study.flops)
    # Each noisy copy takes the bias of one draw of the law, so its doubt is in the interval.
    biases = [vertex_shift(model.law, budget, study.runs) for budget in found.usable]
    by_n, by_d = (np.log(np.array(factors)).T for factors in zip(*biases, strict=True))
    values, first = [], 0
    for noise in study.noises():
        log_n, log_d = _vertices(found, study.runs, noise)
        pick = np.arange(first, first + len(log_n)) % len(model)
        log_n, log_d = log_n - by_n[pick], log_d - by_d[pick]
        values.append(_trends(c, log_n[:, good], log_d[:, good], study.flops))
        first += len(log_n)
    return _answer(mids, values, study.level)


def _third(study: _Study) -> _Answer:
    model = study.law.draws
    if model is None:
        raise FitError(study.law.refusal)
    best = spend(model.law, study.flops, paid_cost(study.runs))
    columns = best.a, best.b, np.log(best.n), np.log(best.d)
    a, b, n, d = (interval(one, study.level, model.spare, model.asked) for one in columns)
    return a, b, Interval(*np.exp(n)), Interval(*np.exp(d))


def _bias(study: _Study) -> tuple[float, float]:
    corrected = study.corrected
    return (math.nan, math.nan) if corrected is None else corrected.bias(study.flops)


def _doubts(study: _Study, *, answered: bool) -> tuple[tuple[Status, ...], tuple[Finding, ...]]:
    """What the law is doubted for and, where approach 2 answered, the budgets it left out."""
    fit = study.law.fit
    status = fit.status if fit else ()
    findings = fit.findings if fit else inspect_runs(study.runs)
    if not answered:
        return status, findings
    edges = tuple(
        Finding(Status.EDGE_BUDGET, f"{budget.reason}; {budget.mend}")
        for budget in study.minima.budgets
        if not budget.usable
    )
    return (*status, *study.minima.status), (*findings, *edges)


def _vertices(found: IsoFlop, runs: Runs, noise: Array) -> tuple[Array, Array]:
    """Log n and log d (k, budgets) at the vertices of noisy copies; NaN where there is none."""
    log_n, log_d = [], []
    for budget in found.usable:
        rows = runs[budget.rows]
        sizes = np.log(rows.n)
        _, p1, p2 = parabola(sizes, rows.loss * np.exp(noise[:, budget.rows]))
        with np.errstate(divide="ignore", invalid="ignore"):
            vertex = np.where(p2 > 0, -p1 / (2 * p2), np.nan)
        price = np.polynomial.Polynomial.fit(sizes, np.log(rows.d), 1)
        # The tokens move with the size as they do in this budget, from where they were found.
        moved = price(vertex) - price(np.log(budget.n_opt)) + np.log(budget.d_opt)
        log_n.append(vertex)
        log_d.append(moved)
    return np.array(log_n).T, np.array(log_d).T


def _trends(c: Array, log_n: Array, log_d: Array, flops: float) -> Array:
    """(k, 4): exponents of n and d and their logarithms at the target, by least squares."""
    x = np.log(c) - np.log(c).mean()
    at = np.log(flops) - np.log(c).mean()
    a, b = (log_n @ x) / (x @ x), (log_d @ x) / (x @ x)
    return np.stack([a, b, log_n.mean(axis=1) + a * at, log_d.mean(axis=1) + b * at], axis=1)


def _mids(c: Array, n: Array, d: Array, flops: float) -> Array:
    """(4,) what the points themselves say, in the order of `_trends`."""
    mids: Array = _trends(c, np.log(n)[None], np.log(d)[None], flops)[0]
    return mids


def _answer(mids: Array, parts: Sequence[Array], level: float) -> _Answer:
    """Intervals around what was found: quantiles of the noisy copies (k, 4) about their median."""
    low = high = np.full(4, np.nan)
    if parts:
        values = np.concatenate(parts)
        kept = values[np.isfinite(values).all(axis=1)]
        if len(kept) >= _FEWEST_KEPT * len(values):
            low, mid, high = interval(kept, level, asked=len(values))
            low, high = mids + (low - mid), mids + (high - mid)
    ends = np.stack([low, mids, high])
    ends[:, 2:] = np.exp(ends[:, 2:])
    a, b, n, d = (Interval(*column) for column in ends.T)
    return a, b, n, d
