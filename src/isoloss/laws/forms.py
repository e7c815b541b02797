"""The laws themselves: what loss to expect, each a small frozen dataclass that is its own formula.

Every law here is a sum of non-negative terms, possibly raised to one outer power:

    loss = (term_1 + term_2 + ...) ** outer,    term_j >= 0

and states the *logarithm* of its terms, once, in `log_terms`. Calling it, its Jacobian, its exact
linear solution and its start grid all follow from that formula and three declarations:

    scales     the coefficient of each term, in order; its logarithm enters the term's linearly, so
               that for fixed exponents it has an exact non-negative solution
    exponents  every other coefficient, with the range in which a fit looks for it: (low, high), or
               `Along` the axis of a variable for a place on it, such as a break, whose range is
               that of the data; positive, unless its range begins below zero
    outer      the exponent outside the sum, if there is one
    base       the coefficients that a fit must be given, if it is the second step of two

A new law is those lines and nothing else; no fitter work. Its formula must hold for complex
exponents too (use `log` and `log_sum` below), for slopes are taken by a complex step. Logarithms
keep the arithmetic finite: 1e12 tokens to the power 4 is never formed.

Here are the plain laws; `bends` holds those of one variable that bend, `joint` those of several.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isoloss.errors import InputError

Array = NDArray[np.float64]
Coefficient = float | Array


def as_coefficient(value: ArrayLike) -> Coefficient:
    """Return a number as a float, anything else as an array of its own."""
    array = np.array(value, dtype=np.float64)
    return float(array) if array.ndim == 0 else array


def positive(values: ArrayLike, name: str) -> Array:
    """Return values as an array; InputError with their name unless all are positive and finite."""
    array = np.asarray(values, dtype=np.float64)
    if not np.all(np.isfinite(array) & (array > 0)):
        raise InputError(f"{name} must be positive and finite")
    return array


def log(value: ArrayLike) -> Array:
    """Return the natural logarithm, minus infinity at zero without a warning; complex too."""
    array = np.asarray(value)
    if array.dtype.kind != "c":
        array = array.astype(np.float64)
    with np.errstate(divide="ignore"):
        logarithm: Array = np.log(array)
    return logarithm


def log_sum(first: ArrayLike, second: ArrayLike) -> Array:
    """Return log(exp(first) + exp(second)) without overflow; complex too, as numpy's is not."""
    larger = np.where(np.real(first) > np.real(second), first, second)
    smaller = np.where(np.real(first) > np.real(second), second, first)
    total: Array = larger + np.log1p(np.exp(smaller - larger))
    return total


@dataclass(frozen=True)
class Along:
    """The range of a coefficient that is a place on the axis of a variable.

    From `low` times the least value among the runs to `high` times the greatest, both taken to the
    power `power`: 1 for a place x, -1 for a coefficient in the unit of 1 / x. variable: its index
    among the law's variables.
    """

    low: float
    high: float
    variable: int = 0
    power: int = 1


ExponentRange = tuple[float, float] | Along


@dataclass(frozen=True)
class Law:
    """What every law shares: it is called with its `variables`, in that order, and returns losses.

    Coefficients are numbers, or arrays that broadcast against the variables as numpy does: a law
    with coefficients of shape (k,) is k laws, and `law.column()(n, d)` is their (k, m) losses at m
    points. Raises InputError if the coefficient of a term is negative.
    """

    variables: ClassVar[tuple[str, ...]] = ()
    scales: ClassVar[tuple[str, ...]] = ()
    exponents: ClassVar[Mapping[str, ExponentRange]] = {}
    outer: ClassVar[str | None] = None
    base: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        for name in self.scales:
            if np.any(np.less(getattr(self, name), 0)):
                raise InputError(f"{type(self).__name__}: {name} must not be negative")

    def __call__(self, *variables: ArrayLike) -> Array:
        """Return the loss in nats at `variables` (parameters, tokens, ...), by broadcasting."""
        if len(variables) != len(self.variables):
            wanted = ", ".join(self.variables)
            raise InputError(f"{type(self).__name__} is called with ({wanted})")
        first, *rest = self.log_terms(*(log(variable) for variable in variables))
        with np.errstate(over="ignore"):  # a search may look where the loss is beyond all numbers
            loss = np.exp(first)
            for term in rest:
                loss = loss + np.exp(term)
        return loss if self.outer is None else loss ** getattr(self, self.outer)

    def log_terms(self, *logs: Array) -> tuple[Array, ...]:
        """Return the natural logarithm of each term at the natural logarithms of the variables."""
        raise TypeError(f"{type(self).__name__} does not state its log_terms")

    def coefficients(self) -> dict[str, Coefficient]:
        """Return the coefficients by the names the paper gives them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def column(self) -> Self:
        """Return the same k laws with coefficients of shape (k, 1), to call at m points at once."""
        stacked = {name: np.reshape(value, (-1, 1)) for name, value in self.coefficients().items()}
        return replace(self, **stacked)


@dataclass(frozen=True)
class PowerLaw(Law):
    """A pure power law: loss = (xc / x) ** alpha.

    xc: the x at which the loss would be 1 nat, in the unit of x. alpha: without unit.
    Source: Kaplan et al. 2020, Eqs 1.1-1.3, where x is parameters, tokens or compute.
    """

    xc: Coefficient
    alpha: Coefficient

    variables = ("x",)
    scales = ("xc",)
    exponents: ClassVar = {"alpha": (1e-2, 5.0)}

    def log_terms(self, *logs: Array) -> tuple[Array, ...]:
        return (self.alpha * (log(self.xc) - logs[0]),)


@dataclass(frozen=True)
class SaturatingPowerLaw(Law):
    """A power law that levels off: loss = E + A / x ** alpha.

    E: nats, the loss that no x removes. A: nats times x ** alpha. alpha: without unit.
    Source: Hoffmann et al. 2022, Eq. 2 in one variable; M2 of Alabdulmohsin et al. 2022.
    """

    E: Coefficient
    A: Coefficient
    alpha: Coefficient

    variables = ("x",)
    scales = ("E", "A")
    exponents: ClassVar = {"alpha": (1e-2, 5.0)}

    def log_terms(self, *logs: Array) -> tuple[Array, ...]:
        return log(self.E), log(self.A) - self.alpha * logs[0]


@dataclass(frozen=True)
class Chinchilla(Law):
    """Loss from parameters and tokens: loss = E + A / n ** alpha + B / d ** beta.

    E: nats, the loss of the text itself. A, B: nats times n ** alpha, d ** beta.
    Source: Hoffmann et al. 2022, Eq. 2.
    """

    E: Coefficient
    A: Coefficient
    B: Coefficient
    alpha: Coefficient
    beta: Coefficient

    variables = ("n", "d")
    scales = ("E", "A", "B")
    exponents: ClassVar = {"alpha": (1e-2, 5.0), "beta": (1e-2, 5.0)}

    def log_terms(self, *logs: Array) -> tuple[Array, ...]:
        log_n, log_d = logs
        return (
            log(self.E),
            log(self.A) - self.alpha * log_n,
            log(self.B) - self.beta * log_d,
        )


@dataclass(frozen=True)
class KaplanND(Law):
    """Loss from parameters and tokens: ((Nc / n) ** (alpha_n / alpha_d) + Dc / d) ** alpha_d.

    Nc: parameters, Dc: tokens, at which that term alone gives 1 nat. The exponents have no unit.
    Source: Kaplan et al. 2020, Eq. 1.5 (= 4.1); it has no irreducible loss.
    """

    Nc: Coefficient
    Dc: Coefficient
    alpha_n: Coefficient
    alpha_d: Coefficient

    variables = ("n", "d")
    scales = ("Nc", "Dc")
    exponents: ClassVar = {"alpha_n": (1e-2, 3.0), "alpha_d": (1e-2, 3.0)}
    outer = "alpha_d"

    def log_terms(self, *logs: Array) -> tuple[Array, ...]:
        log_n, log_d = logs
        ratio = self.alpha_n / self.alpha_d
        return ratio * (log(self.Nc) - log_n), log(self.Dc) - log_d
