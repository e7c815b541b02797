"""The same runs, counted every way they can be: how the best size moves with the way of counting.

Kaplan's 0.73 and Chinchilla's 0.5 are in good part two ways of counting the same models (Pearce &
Song 2024, Porian et al. 2024). So the law is fitted again under each count of parameters, and the
budget is spent under each count of compute. A best size in another count is another number even
where it is the same model; so each is also given in the count of the runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isoloss.errors import InputError, IsolossError, Status
from isoloss.fitting import Finding
from isoloss.fitting.cost import paid_cost
from isoloss.fitting.intervals import check_draws, check_level, check_reach, check_seed
from isoloss.laws import Law
from isoloss.laws.forms import Array
from isoloss.runs import Runs
from isoloss.trust.budgets import spend, target_of
from isoloss.trust.quantiles import Interval, interval
from isoloss.trust.trial import Trial, trial


@dataclass(frozen=True)
class Counted:
    """What the runs say under one way of counting.

    n_convention, c_convention: the way. a: exponent of the best size with compute; n: parameters,
    d: tokens at the target, loss: nats; each an interval. n_as_given: the same model in the count
    that the runs came with. refusal: why there is no answer, and then these are None.
    """

    n_convention: str
    c_convention: str
    a: Interval | None = None
    n: Interval | None = None
    d: Interval | None = None
    loss: Interval | None = None
    n_as_given: Interval | None = None
    refusal: str = ""


@dataclass(frozen=True)
class Conventions:
    """The answers under every way of counting, that of the runs first.

    form: of the law. flops: the target, the same number in every count of compute. given: the count
    of `n_as_given`. level: of the intervals. status, findings: what the fits are doubted for, as in
    `Fit`, each code once, in the words of the first count that shows it.
    """

    form: type[Law]
    flops: float
    given: str
    level: float
    rows: tuple[Counted, ...]
    status: tuple[Status, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def movement(self) -> float:
        """The largest best size over the smallest, as one model would be counted; NaN if one."""
        sizes = [float(row.n_as_given.mid) for row in self.rows if row.n_as_given is not None]
        return max(sizes) / min(sizes) if len(sizes) > 1 else float("nan")


def conventions(
    form: type[Law],
    runs: Runs,
    flops: float | None = None,
    *,
    level: float = 0.9,
    draws: int = 200,
    seed: int = 0,
) -> Conventions:
    """Fit the law and find the best size under each convention that the runs carry.

    form: a law of (n, d). runs: with other counts of n in `counts` and of c in `costs`. flops: the
    target, by default ten times the largest run's. "6nd" as a count of compute is 6 times the n of
    that row. level, draws, seed: of the intervals.
    Raises InputError for a wrong form, target, level, draws or seed. A count that the runs do not
    identify keeps its refusal; the others stand.
    Source: the question is that of Pearce & Song 2024 and Porian et al. 2024.
    """
    if getattr(form, "variables", None) != ("n", "d"):
        raise InputError("conventions need a law of (n, d), such as Chinchilla")
    check_level(level)
    check_draws(draws)
    check_seed(seed)
    check_reach(level, draws)
    target = target_of(runs, flops)
    rows: list[Counted] = []
    status: list[Status] = []
    findings: list[Finding] = []
    for name in dict.fromkeys((runs.n_convention, *runs.counts)):
        counted = runs if name == runs.n_convention else runs.counted(str(name))
        tried = trial(form, counted, draws=draws, seed=seed)
        rows += _under(tried, counted, runs, target, level)
        if tried.fit is not None:
            told = {one.code for one in findings}
            status += [code for code in tried.fit.status if code not in status]
            findings += [one for one in tried.fit.findings if one.code not in told]
    return Conventions(
        form, target, runs.n_convention, level, tuple(rows), tuple(status), tuple(findings)
    )


def _under(tried: Trial, counted: Runs, runs: Runs, flops: float, level: float) -> list[Counted]:
    """One count of n: a single fit, spent under each count of compute."""
    costs = dict.fromkeys((runs.c_convention, *runs.costs, "6nd"))
    convention, model = counted.n_convention, tried.draws
    if model is None:
        return [Counted(convention, name, refusal=tried.refusal) for name in costs]
    rows = []
    for name in costs:
        paid = None
        if name != "6nd":
            spent = runs.c if name == runs.c_convention else runs.costs[name]
            paid = paid_cost(counted.replace(c=spent, c_convention=name))
        try:
            best = spend(model.law, flops, paid)
        except IsolossError as error:
            rows.append(Counted(convention, name, refusal=str(error)))
            continue
        as_given = _translated(best.n, counted.n, runs.n)
        columns = (best.a, best.n, best.d, best.loss, as_given)
        a, size, tokens, least, same = (
            interval(column, level, model.spare, model.asked) for column in columns
        )
        rows.append(Counted(convention, name, a, size, tokens, least, same))
    return rows


def _translated(n: Array, own: Array, given: Array) -> Array:
    """The sizes n of one count in another: straight in logarithms between the runs, and beyond.

    own, given: (m,) the runs in both counts. Beyond them the slope is that of the outer half.
    """
    if np.array_equal(own, given):
        return n
    x, where = np.unique(np.log(own), return_inverse=True)
    y = np.bincount(where, np.log(given)) / np.bincount(where)
    at = np.log(n)
    moved = np.interp(at, x, y)
    half = max(len(x) // 2, 1)
    for beyond, end, rest in ((at < x[0], 0, half), (at > x[-1], -1, -1 - half)):
        if len(x) > 1:
            slope = (y[end] - y[rest]) / (x[end] - x[rest])
            moved = np.where(beyond, y[end] + slope * (at - x[end]), moved)
    translated: Array = np.exp(moved)
    return translated
