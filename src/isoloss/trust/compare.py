"""Two ways to train, compared: how much compute one saves at the loss the other reaches.

Both arms follow one law up to a factor on what compute can still remove:

    loss = E + r * (A / n ** alpha + B / d ** beta),    r = 1 in arm a

The least loss for compute c is then E + r K / c ** gamma with gamma = alpha beta / (alpha + beta)
in both, so that arm b reaches with c what arm a reaches with k c, k = r ** (-1 / gamma), whatever
the budget. With free asymptotes k depends on the budget and is stated at one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeGuard

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isoloss.distributions import student_quantile
from isoloss.errors import InputError, Status, UnidentifiedError
from isoloss.fitting.runs_inspection import Finding, codes
from isoloss.laws.forms import Array
from isoloss.runs import Runs
from isoloss.trust.arms import Arms, fit_arms
from isoloss.trust.arms_inspection import inspect_arms, refuse_losses
from isoloss.trust.quantiles import Interval

Verdict = Literal["a", "b", "not distinguishable"]

_FEWEST = 4
_DRAWS = 4000
_LEAST_EXPONENT = 0.01


@dataclass(frozen=True, eq=False)
class Comparison:
    """What two arms of runs say of each other.

    verdict: "a" or "b", the arm that needs less compute, or "not distinguishable".
    multiplier: the compute with which arm a reaches what arm b reaches, over arm b's: above 1 arm b
    is better; its interval at `level`, infinite where arm a never gets there.
    reducible: the interval of r, arm b's reducible loss over arm a's.
    asymptote: "shared" or "free". at: the FLOPs at which the multiplier holds (at all of them where
    the asymptote is shared). law: "nd" or "c", what the losses were taken to depend on.
    exponent: gamma. pairs: twins that were used as such. sd: of one run's log loss; sd_pairs: of
    the difference of twins (NaN without). asymptotes_differ: the two-sided p of equal asymptotes,
    NaN where there were too few runs to ask.
    status: codes whose value is advice, empty if there is nothing to say. findings: what is wrong
    with the runs, each a code and in which arm it was seen.
    """

    verdict: Verdict
    multiplier: Interval
    reducible: Interval
    level: float
    asymptote: Literal["shared", "free"]
    at: float
    law: Literal["nd", "c"]
    exponent: float
    pairs: int
    sd: float
    sd_pairs: float
    asymptotes_differ: float
    runs_a: Runs
    runs_b: Runs
    status: tuple[Status, ...] = ()
    findings: tuple[Finding, ...] = ()


def compute_multiplier(
    worse: ArrayLike, better: ArrayLike, asymptote: float, exponent: float
) -> Array:
    """Return how many times more compute the worse arm needs to match the better one.

    k = ((worse - asymptote) / (better - asymptote)) ** (1 / exponent)

    worse, better: losses of the two arms at one budget, in the unit of asymptote, any shape. Where
    both arms follow asymptote + A / c ** exponent it is the same at every budget.
    Raises InputError if a loss does not lie above the asymptote or the exponent is not positive.
    Source: the effective speed-up that Marin's speedruns report.
    """
    high, low = np.asarray(worse, dtype=np.float64), np.asarray(better, dtype=np.float64)
    if not exponent > 0:
        raise InputError(f"the exponent must be positive, not {exponent!r}")
    if np.any(high <= asymptote) or np.any(low <= asymptote):
        raise InputError(f"both losses must lie above the asymptote {asymptote:g}")
    return np.asarray(((high - asymptote) / (low - asymptote)) ** (1.0 / exponent))


def compare(
    runs_a: Runs,
    runs_b: Runs,
    *,
    asymptote: Literal["shared", "free"] = "shared",
    law: Literal["nd", "c"] | None = None,
    at: float | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Say which of two arms needs less compute for the same loss, and how much less.

    runs_a, runs_b: four runs or more each, counted alike, at finished schedules. Runs with equal
    n, d and seed are twins: what the law gets wrong there, and a seed's luck where both share it,
    drops out of their difference. asymptote: shared by the arms, which is what makes the multiplier
    the same at every budget, or free in each. law: "nd", losses of parameters and tokens; "c",
    losses of compute alone, E + r A / c ** gamma, for arms whose size follows from their compute;
    by default "nd" where sizes and tokens vary apart. at: FLOPs, where a free asymptote's
    multiplier is wanted; the largest that both arms reach. level: of the intervals and the verdict,
    so that equal arms are called different once in 1 / (1 - level) times. seed: of the draws.
    Returns a Comparison. The interval holds the noise of runs and the uncertainty of all
    coefficients; a weak prior holds E and the exponents where the runs hardly do. Its `status` and
    `findings` say what puts the verdict in doubt: what `inspect_runs` finds in an arm, a run far
    from the law of both, losses of two units, a compute far beyond an arm.
    Raises InputError if the arms are not counted alike or a compute is out of place;
    UnidentifiedError if an arm has fewer than four runs or one loss only, or all runs have one
    compute.

    Source: `docs/methods/compare`. Left out: arms whose exponents differ; an outlier is named, not
    held off.
    """
    _refuse_options(asymptote, law, at, level)
    _refuse(runs_a, runs_b)
    budget = float(min(runs_a.c.max(), runs_b.c.max()) if at is None else at)
    arms = fit_arms(runs_a, runs_b, law or _law_of(runs_a, runs_b), free=asymptote == "free")
    random = np.random.default_rng(seed)
    draws = arms.draws(_DRAWS, random)
    multiplier = _multipliers(arms, draws, budget)
    centre = _multipliers(arms, arms.centre[None], budget)[0]
    if not centre > 0:
        raise InputError(
            f"at {budget:.3g} FLOPs the multiplier is too small a number to compute; ask for a "
            "compute nearer to that of the runs"
        )
    findings = inspect_arms(runs_a, runs_b, arms, budget, float(centre))
    tails = 0.5 * (1.0 - level)
    low, high = np.quantile(multiplier, [tails, 1.0 - tails], method="nearest")
    step = student_quantile(1.0 - tails, arms.degrees) * arms.error("ratio")
    ratio = arms.value("ratio")
    return Comparison(
        verdict="b" if low > 1 else "a" if high < 1 else "not distinguishable",
        multiplier=Interval(low, centre, high),
        reducible=Interval(*(np.exp(ratio + side * step) for side in (-1.0, 0.0, 1.0))),
        level=level,
        asymptote=asymptote,
        at=budget,
        law=arms.law,
        exponent=float(arms.frontier(arms.centre[None])[1][0]),
        pairs=arms.pairs,
        sd=arms.sd,
        sd_pairs=arms.sd_pairs,
        asymptotes_differ=_differing(runs_a, runs_b, arms.law),
        runs_a=runs_a,
        runs_b=runs_b,
        status=codes(findings),
        findings=findings,
    )


def _multipliers(arms: Arms, draws: Array, budget: float) -> Array:
    """k of each draw (k,): E_a + K / (k c) ** gamma = E_b + r K / c ** gamma."""
    log_scale, exponent = arms.frontier(draws)
    exponent = np.maximum(exponent, _LEAST_EXPONENT)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        ratio = np.exp(draws[:, arms.place("ratio")])
        if "gap" in arms.names:
            floors = arms.asymptotes(draws)
            ratio = ratio + (floors[1] - floors[0]) * np.exp(exponent * np.log(budget) - log_scale)
        found = np.where(ratio > 0, np.maximum(ratio, 1e-300) ** (-1.0 / exponent), np.inf)
    return np.asarray(found)


def _differing(runs_a: Runs, runs_b: Runs, law: Literal["nd", "c"]) -> float:
    """The two-sided p of equal asymptotes, by Student's t of their logarithms' difference."""
    if min(len(runs_a), len(runs_b)) < _FEWEST + 2:
        return float("nan")
    free = fit_arms(runs_a, runs_b, law, free=True)
    size = abs(free.value("gap")) / free.error("gap")
    return free.p_value(size)


def _law_of(runs_a: Runs, runs_b: Runs) -> Literal["nd", "c"]:
    """Losses of n and d where the runs vary them apart, else of compute alone."""
    n = np.log(np.concatenate([runs_a.n, runs_b.n]))
    d = np.log(np.concatenate([runs_a.d, runs_b.d]))
    if np.unique(np.round(n, 3)).size < 3 or np.unique(np.round(d, 3)).size < 3:
        return "c"
    return "c" if np.corrcoef(n, d)[0, 1] > 0.97 else "nd"


def _refuse_options(asymptote: object, law: object, at: object, level: object) -> None:
    if asymptote not in ("shared", "free"):
        raise InputError(f'asymptote is "shared" or "free", not {asymptote!r}')
    if law not in (None, "nd", "c"):
        raise InputError(f'law is "nd" or "c", or left out, not {law!r}')
    if at is not None and not (_is_number(at) and 0 < at < np.inf):
        raise InputError(f"at is a compute in FLOPs, not {at!r}")
    if not (_is_number(level) and 0 < level < 1):
        raise InputError(f"level is a share between 0 and 1, such as 0.95, not {level!r}")


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float | np.integer | np.floating)


def _refuse(runs_a: Runs, runs_b: Runs) -> None:
    for name, mend in (
        (
            "n_convention",
            "count them alike with .counted(...) (--n, or --n-convention if a table does not say)",
        ),
        ("c_convention", "count them alike with .counted(..., flops=...) (--c 6nd)"),
        ("loss_unit", "convert one of them"),
    ):
        found = [getattr(runs, name) for runs in (runs_a, runs_b)]
        if found[0] != found[1]:
            raise InputError(f"the arms differ in {name} ({', '.join(found)}); {mend}")
    for letter, runs in (("a", runs_a), ("b", runs_b)):
        if len(runs) < _FEWEST:
            raise UnidentifiedError(
                f"arm {letter} has {len(runs)} runs; a comparison needs {_FEWEST} in each"
            )
    refuse_losses(runs_a, runs_b)
    computes: NDArray[np.float64] = np.concatenate([runs_a.c, runs_b.c])
    if computes.max() < 2.0 * computes.min():
        raise UnidentifiedError(
            "all runs have about the same compute, so no loss can be turned into compute; "
            "add runs at a fourth of it"
        )
