"""Fit a law to runs: the plain, published estimator, always at its global optimum.

Minimises the sum over runs of the Huber loss of log predicted - log observed, with delta = 1e-3,
which is nearly a median regression and what Hoffmann et al. 2022 (approach 3) and Besiroglu et al.
2024 used. Starts come from a grid over the exponents with the rest solved exactly (`projection`),
the descent is `polish`, `search` puts the two together, and what the runs cannot answer is refused
(`diagnosis`). That the optimum is the global one is certified in the tests against dense
multi-start searches, not assumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike

from isoloss.errors import FitError, InputError, Status, UnidentifiedError
from isoloss.fitting import diagnosis
from isoloss.fitting.design import Design, Residual
from isoloss.fitting.search import solve
from isoloss.laws.forms import Array, Law
from isoloss.runs import Runs

_SEARCHABLE = ("n", "d", "c", "steps", "batch", "unique_tokens")


@dataclass(frozen=True, eq=False)
class Fit:
    """A law fitted to runs, and how well.

    law: the fitted law. objective: the summed Huber losses (nats^2 if residual is "linear").
    residuals: (m,) log predicted - log observed, whichever residual was minimised.
    status: codes whose value is advice, most serious first; empty if there is nothing to say.
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

    @property
    def coefficients(self) -> dict[str, float]:
        """The fitted coefficients, by the names the paper gives them."""
        return {name: float(value) for name, value in self.law.coefficients().items()}

    def check(self) -> Fit:
        """Return this fit if it can be used, else raise.

        Raises UnidentifiedError (exit code 3) if an exponent sits at the end of its range or a term
        that depends on the runs vanished; FitError if the solver did not settle. Both carry this
        fit in `.partial` and say what would mend it.
        """
        if Status.NOT_CONVERGED in self.status:
            raise FitError(_sentence(self.form, Status.NOT_CONVERGED), partial=self)
        if Status.AT_BOUND in self.status:
            raise UnidentifiedError(_sentence(self.form, Status.AT_BOUND), partial=self)
        if diagnosis.effect_vanished(self.design, self.coordinates):
            raise UnidentifiedError(_sentence(self.form, Status.VANISHED_TERM), partial=self)
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
) -> Fit:
    """Fit a law to runs.

    minimise sum_i w_i h(r_i), with h the Huber loss: r^2 / 2 up to delta, then linear.

    form: the law's class, such as Chinchilla. runs: m runs; n in parameters, d in tokens.
    x: for a law of one variable, which field of the runs it is: "n", "d", "c", ...
    residual: "log" (r = log predicted - log observed) or "linear" (their difference in nats).
    delta: where the Huber loss turns linear, in units of r; None for least squares.
    fixed: coefficients held at a value, such as {"E": 1.7}. weights: (m,), not negative.
    Returns a Fit; read its `.status`, or call `.check()` to have doubt raised.
    Raises InputError for a wrong call; UnidentifiedError, with the fit in `.partial`, if the runs
    cannot identify the coefficients (one size only, fewer runs than coefficients, tokens tied to
    size, ...), naming the runs that would.

    Source: Hoffmann et al. 2022, Eq. 3 and appendix D.2, summed as Besiroglu et al. 2024 correct
    it. Left out: their 4,500 starts, which the projection makes needless.
    """
    held = _checked_fixed(form, fixed)
    if residual not in ("log", "linear"):
        raise InputError(f'residual is "log" or "linear", not {residual!r}')
    if delta is not None and not (np.isfinite(delta) and delta > 0):
        raise InputError(f"delta must be a positive number or None, not {delta!r}")
    variables = variables_of(form, runs, x)
    given = _checked_weights(weights, len(runs))
    used = np.flatnonzero(given > 0)
    design = Design.over(form, [v[used] for v in variables], runs.loss[used], residual, held)
    solution = solve(design, given[used], delta)
    law = _single(design.law(solution.coordinates))
    result = Fit(
        form=form,
        law=law,
        runs=runs,
        x=x,
        residual=residual,
        delta=delta,
        fixed=held,
        weights=given,
        objective=float(solution.objectives[0]),
        residuals=np.log(law(*variables)) - np.log(runs.loss),
        status=(),
        design=design,
        coordinates=solution.coordinates[0],
    )
    verdict = diagnosis.diagnose(design, solution)
    result = replace(result, status=verdict.status)
    if verdict.refusal:
        raise UnidentifiedError(f"{form.__name__}: {verdict.refusal}", partial=result)
    return result


def _single(law: Law) -> Law:
    numbers = {name: float(np.ravel(value)[0]) for name, value in law.coefficients().items()}
    return replace(law, **numbers)


def _sentence(form: type[Law], code: Status) -> str:
    return f"{form.__name__}: {code.value}"


def variables_of(form: type[Law], runs: Runs, x: str | None) -> list[Array]:
    """Return the columns of the runs that a law is called with, each (m,)."""
    names = form.variables
    if names == ("x",):
        if x is None:
            raise InputError(f'{form.__name__} has one variable: say which, such as x="n" (--x n)')
        if x not in _SEARCHABLE:
            raise InputError(f"x is one of {', '.join(_SEARCHABLE)}, not {x!r}")
        names = (x,)
    elif x is not None:
        raise InputError(f"{form.__name__} is fitted to ({', '.join(names)}); leave x out")
    columns = []
    for name in names:
        column = getattr(runs, name)
        if column is None:
            raise InputError(f"{form.__name__} needs {name!r}, which these runs do not have")
        if not np.all(np.isfinite(column) & (column > 0)):
            raise InputError(f"{form.__name__} needs a positive {name!r} in every run")
        columns.append(np.asarray(column, dtype=np.float64))
    return columns


def _checked_fixed(form: type[Law], fixed: Mapping[str, float] | None) -> dict[str, float]:
    if not (isinstance(form, type) and issubclass(form, Law)):
        raise InputError(f"fit takes the class of a law, such as Chinchilla, not {form!r}")
    known = [*form.scales, *form.exponents]
    held = {name: float(value) for name, value in (fixed or {}).items()}
    for name, value in held.items():
        if name not in known:
            import difflib  # slow to load, and only needed here

            near = difflib.get_close_matches(name, known, 1, 0.0)[0]
            raise InputError(f"{form.__name__} has no coefficient {name!r}; did you mean {near!r}?")
        if not np.isfinite(value) or value < 0 or (value == 0 and name in form.exponents):
            raise InputError(f"fixed {name} = {value} is not possible in {form.__name__}")
    if len(held) == len(known):
        raise InputError(f"every coefficient of {form.__name__} is fixed; leave one free")
    return held


def _checked_weights(weights: ArrayLike | None, count: int) -> Array:
    if weights is None:
        return np.ones(count)
    given = np.asarray(weights, dtype=np.float64)
    if given.shape != (count,):
        raise InputError(f"weights have shape {given.shape}; there are {count} runs")
    if not np.all(np.isfinite(given) & (given >= 0)) or not np.any(given > 0):
        raise InputError("weights must be finite, not negative, and not all zero")
    return given
