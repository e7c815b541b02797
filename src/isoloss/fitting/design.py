"""A form laid over the runs it is fitted to: the one place that turns a law into numbers to solve.

Inside the solver a law is a vector of coordinates: first one non-negative weight for each term,
then the exponents. The variables are scaled by their geometric means, and so is the loss, so the
coordinates are of order one whatever the unit of n, d or the loss, and nothing overflows. A place
on the axis of a variable (`laws.forms.Along`) is its distance from that mean in the logarithm:

    log(loss / mean loss) = outer * log(sum_j weight_j * u_j),
    u_j = term_j(x; exponents) / term_j(mean x; exponents)

Every array has the solutions (k) first and the runs (m) last, so that one starting point, a grid of
exponents and thousands of bootstrap draws are the same computation. Slopes of the terms come from
the formula itself by a complex step (exact to rounding), once for all if they are constant.

Source: the projection idea is Golub & Pereyra 1973; for scaling laws Czech et al. 2026.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from isoloss.laws.forms import Along, Array, Coefficient, Law

Residual = Literal["log", "linear"]
Slopes = dict[tuple[int, int], Array]

_STEP = 1e-30
_LARGEST_LOG = 700.0
# Far outside any fit (the mean loss is 1 here), yet their products and squares stay finite.
_LARGEST_LOG_TERM = 130.0
_LARGEST_WEIGHT = 1e60
_LEAST_TOTAL = 1e-60


@dataclass(frozen=True)
class Design:
    """A form laid over runs: logarithms of its variables and of the loss, each (m,).

    fixed: coefficients that are not to be found. centre, mean_log_loss: the scaling. spans: the
    least and greatest logarithm of each variable. asymmetry: how many times as much a prediction
    above the loss costs as one below.
    """

    form: type[Law]
    logs: tuple[Array, ...]
    log_loss: Array
    residual: Residual
    fixed: Mapping[str, float]
    centre: tuple[Array, ...]
    mean_log_loss: float
    spans: tuple[tuple[float, float], ...]
    asymmetry: float = 1.0

    @classmethod
    def over(
        cls,
        form: type[Law],
        variables: Sequence[Array],
        loss: Array,
        residual: Residual,
        fixed: Mapping[str, float],
        asymmetry: float = 1.0,
    ) -> Design:
        """Lay `form` over variables and losses, each (m,), and scale them by their means."""
        logs = tuple(np.log(variable) for variable in variables)
        centre = tuple(np.mean(log, keepdims=True) for log in logs)
        spans = tuple((float(log.min()), float(log.max())) for log in logs)
        log_loss = np.log(loss)
        middle = float(np.mean(log_loss))
        return cls(form, logs, log_loss, residual, fixed, centre, middle, spans, asymmetry)

    def take(self, rows: NDArray[np.intp]) -> Design:
        """Return the design at some of the runs, in the same coordinates."""
        logs = tuple(log[rows] for log in self.logs)
        return replace(self, logs=logs, log_loss=self.log_loss[rows])

    @cached_property
    def scales(self) -> tuple[str, ...]:
        """The coefficients of terms that are to be found."""
        return tuple(name for name in self.form.scales if name not in self.fixed)

    @cached_property
    def exponents(self) -> tuple[str, ...]:
        """The exponents that are to be found."""
        return tuple(name for name in self.form.exponents if name not in self.fixed)

    @property
    def size(self) -> int:
        """How many coordinates there are (q)."""
        return len(self.scales) + len(self.exponents)

    @cached_property
    def bounds(self) -> tuple[Array, Array]:
        """The lowest and highest value of each coordinate, each (q,)."""
        ranges = [self._range(name) for name in self.exponents]
        low = [0.0] * len(self.scales) + [float(low) for low, _ in ranges]
        high = [_LARGEST_WEIGHT] * len(self.scales) + [float(high) for _, high in ranges]
        return np.array(low), np.array(high)

    def _range(self, name: str) -> tuple[float, float]:
        declared = self.form.exponents[name]
        if not isinstance(declared, Along):
            return declared
        middle = float(self.centre[declared.variable][0])
        least, greatest = self.spans[declared.variable]
        ends = least - middle + np.log(declared.low), greatest - middle + np.log(declared.high)
        low, high = sorted(declared.power * end for end in ends)
        return float(low), float(high)

    @cached_property
    def places(self) -> dict[str, float]:
        """Where on its logarithmic axis each coordinate that is a place has its zero."""
        declared = {name: self.form.exponents[name] for name in self.exponents}
        return {
            name: along.power * float(self.centre[along.variable][0])
            for name, along in declared.items()
            if isinstance(along, Along)
        }

    def _exponent_values(self, theta: Any) -> dict[str, Any]:
        """The exponents as the formula takes them, each (k, 1), at coordinates (k, p)."""
        values = {name: theta[:, [i]] for i, name in enumerate(self.exponents)}
        for name, zero in self.places.items():
            values[name] = np.exp(values[name] + zero)
        return values

    # ---- the formula -----------------------------------------------------------------------

    def _terms(self, theta: Array | np.ndarray[Any, Any]) -> list[Any]:
        """log u_j at exponents (k, p), each term (k, m) or smaller; complex if theta is."""
        values: dict[str, Any] = dict.fromkeys(self.form.scales, 1.0) | dict(self.fixed)
        values |= self._exponent_values(theta)
        law = self.form(**values)
        outer = 1.0 if self.form.outer is None else values[self.form.outer]
        centred = []
        at_runs, at_centre = law.log_terms(*self.logs), law.log_terms(*self.centre)
        for name, term, middle in zip(self.form.scales, at_runs, at_centre, strict=True):
            # A term whose weight is sought may be scaled freely; a fixed one only as the loss is.
            scale = middle if name not in self.fixed else self.mean_log_loss / outer
            centred.append(np.atleast_2d(term - scale))
        return centred

    def _step(self, theta: Array) -> Slopes:
        """Slopes of log u_j by exponent, {(term, exponent): (k, m)}, where there is one."""
        slopes: Slopes = {}
        for i in range(theta.shape[1]):
            shifted = theta.astype(np.complex128)
            shifted[:, i] += 1j * _STEP
            for j, term in enumerate(self._terms(shifted)):
                if np.iscomplexobj(term) and np.any(term.imag):
                    slopes[j, i] = term.imag / _STEP
        return slopes

    @cached_property
    def _straight(self) -> tuple[list[Array], Slopes] | None:
        """Intercepts and slopes if every log u_j is a straight line in the exponents, else None."""
        low, high = (bound[len(self.scales) :] for bound in self.bounds)
        probes = low + np.array([[0.237], [0.611]]) * (high - low)
        slopes = self._step(probes)
        if any(not np.allclose(s[:1], s[1:], rtol=1e-12, atol=1e-12) for s in slopes.values()):
            return None
        slopes = {key: np.ascontiguousarray(slope[:1]) for key, slope in slopes.items()}
        intercepts = [term[:1] for term in self._terms(probes)]
        for (j, i), slope in slopes.items():
            intercepts[j] = intercepts[j] - probes[0, i] * slope
        return intercepts, slopes

    @cached_property
    def _tame(self) -> bool:
        """Whether no term can overflow anywhere within the bounds."""
        if self._straight is None:
            return False
        intercepts, slopes = self._straight
        low, high = (bound[len(self.scales) :] for bound in self.bounds)
        highest = list(intercepts)
        for (j, i), slope in slopes.items():
            highest[j] = highest[j] + np.maximum(slope * low[i], slope * high[i])
        return all(float(term.max()) < _LARGEST_LOG_TERM for term in highest)

    def logarithms(self, theta: Array) -> tuple[list[Array], Slopes]:
        """Return log u_j, each (k, m) or smaller, and their slopes, at exponents (k, p)."""
        if self._straight is None:
            return self._terms(theta), self._step(theta)
        intercepts, slopes = self._straight
        terms = list(intercepts)
        for (j, i), slope in slopes.items():
            terms[j] = terms[j] + theta[:, [i]] * slope
        return terms, slopes

    def outer(self, theta: Array) -> Array:
        """Return the exponent outside the sum at exponents (k, p), shape (k, 1) or (1, 1)."""
        name = self.form.outer
        if name is None:
            return np.ones((1, 1))
        if name in self.fixed:
            return np.full((1, 1), float(self.fixed[name]))
        return theta[:, [self.exponents.index(name)]]

    # ---- residuals -------------------------------------------------------------------------

    def evaluate(self, coordinates: Array, log_loss: Array) -> tuple[Array, Array]:
        """Return residuals (k, m) and their Jacobian (k, q, m) at coordinates (k, q).

        log_loss: (1, m) or (k, m), the observed losses. The residual is log predicted - log
        observed, or predicted - observed if `linear`.
        """
        free = len(self.scales)
        theta = coordinates[:, free:]
        terms, slopes = self.logarithms(theta)
        jacobian = np.empty((len(coordinates), self.size, log_loss.shape[-1]))
        total: Array | float = 0.0
        parts: list[Array] = []
        column = 0
        for name, term in zip(self.form.scales, terms, strict=True):
            part = np.exp(term if self._tame else np.minimum(term, _LARGEST_LOG_TERM))
            if name not in self.fixed:
                jacobian[:, column] = part
                part = coordinates[:, [column]] * part
                column += 1
            parts.append(part)
            total = total + part
        total = np.maximum(total, _LEAST_TOTAL)
        outer = self.outer(theta)
        share = outer / total
        written: set[int] = set()
        for (j, i), slope in slopes.items():
            if i in written:
                jacobian[:, free + i] += parts[j] * slope
            else:
                np.multiply(parts[j], slope, out=jacobian[:, free + i])
                written.add(i)
        for i in set(range(theta.shape[1])) - written:
            jacobian[:, free + i] = 0.0
        jacobian *= share[:, None, :]
        log_total = np.log(total)
        if self.form.outer in self.exponents:
            jacobian[:, free + self.exponents.index(str(self.form.outer))] += log_total
        predicted = outer * log_total + self.mean_log_loss
        if len(predicted) < len(coordinates):  # no coordinate acts at any run
            predicted = np.broadcast_to(predicted, (len(coordinates), predicted.shape[-1]))
        if self.residual == "log":
            return predicted - log_loss, jacobian
        loss = np.exp(np.minimum(predicted, _LARGEST_LOG))
        jacobian *= loss[:, None, :]
        return loss - np.exp(log_loss), jacobian

    def observed(self, residuals: Array, noise: Array) -> Array:
        """Return the log losses (k, m) that lie `noise` (k, m) from a fit with residuals (m,)."""
        if self.residual == "log":
            return self.log_loss + residuals + noise
        predicted = np.exp(self.log_loss) + residuals
        return np.log(np.maximum(predicted + noise, 1e-3 * predicted))

    # ---- between coordinates and coefficients ----------------------------------------------

    def law(self, coordinates: Array) -> Law:
        """Return the law, with coefficients of shape (k,), that has these coordinates (k, q)."""
        theta = coordinates[:, len(self.scales) :]
        count = len(coordinates)
        values: dict[str, Coefficient] = {name: np.ones(count) for name in self.form.scales}
        values |= {name: np.full(count, value) for name, value in self.fixed.items()}
        values |= {name: value[:, 0] for name, value in self._exponent_values(theta).items()}
        outer = 1.0 if self.form.outer is None else values[self.form.outer]
        raised = {name: np.full(count, np.e) for name in self.scales}
        at_one = self.form(**values).log_terms(*self.centre)
        at_e = self.form(**{**values, **raised}).log_terms(*self.centre)
        log_terms = dict(zip(self.form.scales, zip(at_one, at_e, strict=True), strict=True))
        found = dict(values)
        for column, name in enumerate(self.scales):
            one, e = log_terms[name]
            with np.errstate(divide="ignore"):
                log_weight = np.log(coordinates[:, column])
            log_scale = (log_weight + self.mean_log_loss / outer - one) / (e - one)
            found[name] = np.exp(np.minimum(log_scale, _LARGEST_LOG))
        return self.form(**found)
