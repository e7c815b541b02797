"""Fit a law to runs: the plain, published estimator, always at its global optimum.

Minimises the sum over runs of the Huber loss of log predicted - log observed, with delta = 1e-3,
which is nearly a median regression and what Hoffmann et al. 2022 (approach 3) and Besiroglu et al.
2024 used. Starts come from a grid over the exponents with the rest solved exactly (`projection`),
the descent is `polish`, `search` puts the two together, and what the runs cannot answer is refused
(`diagnosis`). That the optimum is the global one is certified in the tests against dense
multi-start searches, not assumed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from numbers import Real

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isoloss.errors import FitError, InputError, Status, UnidentifiedError
from isoloss.fitting import covariance, diagnosis
from isoloss.fitting.design import Design, Residual
from isoloss.fitting.inspection import inspect
from isoloss.fitting.runs_inspection import Finding, codes
from isoloss.fitting.search import solve
from isoloss.fitting.variables import Given, given_at, variables_of
from isoloss.laws.forms import Along, Array, Law
from isoloss.runs import Runs

_BLAMED = frozenset(
    {
        Status.MIXED_DATA, Status.MIXED_GROUPS, Status.POOR_FIT, Status.NOT_NATS, Status.SWAPPED,
        Status.WRONG_UNITS, Status.HOT_AND_COOLED, Status.OUTLIER,
    }
)  # fmt: skip
"""What may be why a law does not settle, said beside the refusal."""


@dataclass(frozen=True, eq=False)
class Fit:
    """A law fitted to runs, and how well.

    law: the fitted law. objective: the summed Huber losses (nats^2 if residual is "linear").
    residuals: (m,) log predicted - log observed, whichever residual was minimised.
    status: codes whose value is advice, most serious first; empty if there is nothing to say.
    given: the variables that the runs do not hold. asymmetry: as `fit` was told.
    findings: what is wrong with the runs, each a code and where it was seen.
    design, coordinates: the problem as the solver holds it, for `trust` to solve again.
    """

    form: type[Law]
    law: Law
    runs: Runs
    x: str | None
    residual: Residual
    delta: float | None
    fixed: Mapping[str, float]
    weights: Array
    objective: float
    residuals: Array
    status: tuple[Status, ...]
    design: Design = field(repr=False)
    coordinates: Array = field(repr=False)
    asymmetry: float = 1.0
    given: Given | None = field(default=None, repr=False)
    findings: tuple[Finding, ...] = ()

    @property
    def coefficients(self) -> dict[str, float]:
        """The fitted coefficients, by the names the paper gives them."""
        return {name: float(value) for name, value in self.law.coefficients().items()}

    def covariance(self) -> Array:
        """Return the covariance (p, p) of the coefficients that were sought, in the law's order.

        The sandwich: bread^-1 meat bread^-1, with bread = sum_i w_i h''(r_i) g_i g_i^T, meat = sum
        over runs of the outer products of their scores, g_i the slopes of the prediction. It holds
        for noise of any size at each run; rows of one name count as one run. For a small delta h''
        is measured over a window of the residuals as wide as a quantile estimate wants it.
        Rows and columns of coefficients that a bound holds or whose term vanished are NaN. It
        describes a quadratic near the optimum, which the one of A, B and the exponents hardly is:
        read intervals from `bootstrap`.
        Source: Huber 1967; Powell 1991 for the window, its width as in Koenker 2005, section 3.4.
        """
        variables = variables_of(self.form, self.runs, self.x, self.given)
        return covariance.sandwich(
            self.law, self.design, self.coordinates, self.weights, variables, self.runs, self.delta
        )

    @property
    def standard_errors(self) -> dict[str, float]:
        """The square roots of the diagonal of `covariance`, by coefficient; 0 if it was fixed."""
        spread = np.sqrt(np.diag(self.covariance()))
        found = dict(zip(covariance.sought(self.form, self.fixed), spread, strict=True))
        return {name: float(found.get(name, 0.0)) for name in self.coefficients}

    def check(self) -> Fit:
        """Return this fit if it can be used, else raise.

        Raises UnidentifiedError (exit code 3) if an exponent sits at the end of its range or a term
        that depends on the runs vanished; FitError if the solver did not settle. Both carry this
        fit in `.partial` and say what would mend it.
        """
        if Status.NOT_CONVERGED in self.status:
            raise FitError(_sentence(self, Status.NOT_CONVERGED), partial=self)
        if Status.AT_BOUND in self.status:
            raise UnidentifiedError(_sentence(self, Status.AT_BOUND), partial=self)
        if diagnosis.effect_vanished(self.design, self.coordinates):
            raise UnidentifiedError(_sentence(self, Status.VANISHED_TERM), partial=self)
        return self


def fit(
    form: type[Law],
    runs: Runs,
    *,
    x: str | None = None,
    residual: Residual = "log",
    delta: float | None = 1e-3,
    fixed: Mapping[str, float] | None = None,
    weights: ArrayLike | None = None,
    asymmetry: float = 1.0,
    given: Given | None = None,
) -> Fit:
    """Fit a law to runs.

    minimise sum_i w_i h(r_i), with h the Huber loss: r^2 / 2 up to delta, then linear.

    form: the law's class, such as Chinchilla. runs: m runs; n in parameters, d in tokens.
    x: for a law of one variable, which field of the runs it is: "n", "d", "c", ...
    residual: "log" (r = log predicted - log observed) or "linear" (their difference in nats).
    delta: where the Huber loss turns linear, in units of r; None for least squares.
    fixed: coefficients held at a value, such as {"E": 1.7}. weights: (m,), not negative.
    asymmetry: how many times as much a prediction above the loss costs as one below; 1 for alike,
    and with 10 the law lies along the lower edge of the runs.
    given: variables of the law that the runs do not hold, each (m,); for "s_min" a CriticalBatch
    will do, which turns the runs' steps, batch and loss into it.
    Returns a Fit; read its `.status`, or call `.check()` to have doubt raised.
    Raises InputError for a wrong call; UnidentifiedError, with the fit in `.partial`, if the runs
    cannot identify the coefficients (one size only, fewer runs than coefficients, tokens tied to
    size, ...), naming the runs that would.

    Source: Hoffmann et al. 2022, Eq. 3 and appendix D.2, summed as Besiroglu et al. 2024 correct
    it. Left out: their 4,500 starts, which the projection makes needless.
    """
    held = checked_fixed(form, fixed)
    check_cost(residual, delta, asymmetry)
    variables = variables_of(form, runs, x, given)
    each = checked_weights(weights, len(runs))
    used = np.flatnonzero(each > 0)
    seen = [variable[used] for variable in variables]
    design = Design.over(form, seen, runs.loss[used], residual, held, asymmetry)
    solution = solve(design, each[used], delta)
    law = single(design.law(solution.coordinates))
    result = Fit(
        form=form,
        law=law,
        runs=runs,
        x=x,
        residual=residual,
        delta=delta,
        fixed=held,
        weights=each,
        objective=float(solution.objectives[0]),
        residuals=np.log(law(*variables)) - np.log(runs.loss),
        status=(),
        design=design,
        coordinates=solution.coordinates[0],
        asymmetry=asymmetry,
        given=given,
    )
    verdict = diagnosis.diagnose(design, solution)
    seen_wrong = inspect(runs, design, result.coordinates, each, result.residuals)
    status = (*verdict.status, *codes(seen_wrong))
    result = replace(result, status=status, findings=seen_wrong)
    if verdict.refusal:
        blamed = _seen(seen_wrong)
        raise UnidentifiedError(f"{form.__name__}: {verdict.refusal}{blamed}", partial=result)
    return result


def refit(fitted: Fit, rows: NDArray[np.bool_]) -> Fit:
    """Fit some of the runs of a fit, rows (m,), in every other way as it was fitted."""
    return fit(
        fitted.form,
        fitted.runs[rows],
        x=fitted.x,
        residual=fitted.residual,
        delta=fitted.delta,
        fixed=fitted.fixed,
        weights=fitted.weights[rows],
        asymmetry=fitted.asymmetry,
        given=given_at(fitted.given, rows),
    )


def single(law: Law) -> Law:
    """Return the first of the laws that a law with array coefficients is, with plain numbers."""
    numbers = {name: float(np.ravel(value)[0]) for name, value in law.coefficients().items()}
    return replace(law, **numbers)


def _sentence(fitted: Fit, code: Status) -> str:
    """What is wrong, and what may be to blame, which no more runs would mend: values held, runs."""
    held = ", ".join(f"{name} = {value:g}" for name, value in fitted.fixed.items())
    blame = f"; or what was held does not suit the runs: {held}" if held else ""
    return f"{fitted.form.__name__}: {code.value}{blame}{_seen(fitted.findings)}"


def _seen(findings: tuple[Finding, ...]) -> str:
    """What was seen to be wrong with the runs, in a clause."""
    details = [one.detail for one in findings if one.code in _BLAMED]
    return f"; seen in the runs: {'; '.join(details)}" if details else ""


def checked_fixed(form: type[Law], fixed: Mapping[str, float] | None) -> dict[str, float]:
    """Return the fixed coefficients as numbers, or raise InputError if the form has no such."""
    if not (isinstance(form, type) and issubclass(form, Law)):
        raise InputError(f"fit takes the class of a law, such as Chinchilla, not {form!r}")
    known = [*form.scales, *form.exponents]
    try:
        held = {name: float(value) for name, value in (fixed or {}).items()}
    except (AttributeError, TypeError, ValueError):
        raise InputError(
            f"fixed holds coefficients by name, such as {{'E': 1.7}}, not {fixed!r}"
        ) from None
    for name, value in held.items():
        if name not in known:
            import difflib  # slow to load, and only needed here

            near = difflib.get_close_matches(name, known, 1, 0.0)[0]
            raise InputError(f"{form.__name__} has no coefficient {name!r}; did you mean {near!r}?")
        declared = form.exponents.get(name, (0.0, np.inf))
        signed = not isinstance(declared, Along) and declared[0] < 0
        positive = value > 0 or (value == 0 and name in form.scales)
        if not (np.isfinite(value) and (positive or signed)):
            raise InputError(f"fixed {name} = {value} is not possible in {form.__name__}")
    free = [name for name in form.base if name not in held]
    if free:
        raise InputError(
            f"{form.__name__} is fitted in two steps: find {', '.join(free)} first (Chinchilla "
            f"fitted to the runs that see every token once) and hold them with "
            f'fixed={{"{free[0]}": ...}} (--fix {free[0]}=...)'
        )
    if len(held) == len(known):
        raise InputError(f"every coefficient of {form.__name__} is fixed; leave one free")
    return held


def check_cost(residual: str, delta: float | None, asymmetry: float) -> None:
    """Raise InputError if what is minimised is not one of the losses that `fit` describes."""
    if residual not in ("log", "linear"):
        raise InputError(f'residual is "log" or "linear", not {residual!r}')
    check_delta(delta)
    if not _positive(asymmetry):
        raise InputError(f"asymmetry must be a positive number, not {asymmetry!r}")


def check_delta(delta: float | None) -> None:
    """Raise InputError if this is not where a Huber loss can turn linear."""
    if delta is not None and not _positive(delta):
        raise InputError(
            f"delta must be a positive number, or None (--delta 0) for squares, not {delta!r}"
        )


def _positive(value: object) -> bool:
    return isinstance(value, Real) and 0 < float(value) < math.inf


def checked_weights(weights: ArrayLike | None, count: int) -> Array:
    """Return the weights, all one if none are given, or raise InputError."""
    if weights is None:
        return np.ones(count)
    try:
        given = np.asarray(weights, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"weights must be numbers, one for each of {count} runs") from None
    if given.shape != (count,):
        raise InputError(f"weights have shape {given.shape}; there are {count} runs")
    if not np.all(np.isfinite(given) & (given >= 0)) or not np.any(given > 0):
        raise InputError("weights must be finite, not negative, and not all zero")
    return given
