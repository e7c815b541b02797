"""What a published rule for the learning rate or the batch is, and how it is asked.

A rule is no law of nature: it was fitted to one optimizer, one schedule and one range of sizes,
and outside that range it may ask for rates no model survives. So every rule says its range, and
`TuningRule.inside` says whether a model lies in it. Batches are given in tokens here; a rule
published in sequences carries their length. The rules are in `published_tuning`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isoloss.counting import COUNT_CONVENTIONS, count_params, flops_per_token
from isoloss.errors import InputError
from isoloss.laws.forms import Array
from isoloss.units import format_number

if TYPE_CHECKING:
    from isoloss.counting import CConvention, NConvention, Shape

Range = tuple[float, float]
Gives = Literal["lr", "batch", "critical_batch"]


@dataclass(frozen=True)
class PowerProduct:
    """value = coefficient * product over variables x of x ** exponents[x]."""

    coefficient: float
    exponents: Mapping[str, float]

    def __post_init__(self) -> None:
        object.__setattr__(self, "exponents", MappingProxyType(dict(self.exponents)))

    @property
    def variables(self) -> tuple[str, ...]:
        """What it is called with, in this order: n in parameters, d in tokens, c in FLOPs."""
        return tuple(self.exponents)

    def __call__(self, *values: ArrayLike) -> Array:
        """Return the value at `values`, one array for each of `variables`."""
        logs = (
            power * np.log(np.asarray(x, dtype=np.float64))
            for power, x in zip(self.exponents.values(), values, strict=True)
        )
        return np.asarray(np.exp(sum(logs, np.log(self.coefficient))))


@dataclass(frozen=True)
class LogLinear:
    """value = intercept + slope * ln n: Kaplan's rate, which falls to zero at a finite size."""

    intercept: float
    slope: float

    variables = ("n",)

    def __call__(self, *values: ArrayLike) -> Array:
        """Return the value at n, in parameters; NaN where the line is not positive."""
        (n,) = values
        line = self.intercept + self.slope * np.log(np.asarray(n, dtype=np.float64))
        return np.asarray(np.where(line > 0, line, np.nan))


@dataclass(frozen=True)
class TuningRule:
    """A published rule for the learning rate or the batch, with what a reader must know to use it.

    gives: "lr", the peak learning rate, "batch", the best one, or "critical_batch", in the paper's
    `unit`: "" for a rate, "tokens", or "sequences" of `sequence_length` tokens, which `tokens`
    multiplies.
    n_convention, c_convention: how the paper counted parameters and compute.
    n_range, d_range, c_range: smallest and largest parameters, tokens and FLOPs measured; None
    where our reading of the paper found none, and then that variable is not held against a model.
    """

    law: PowerProduct | LogLinear
    name: str
    citation: str
    where: str
    gives: Gives
    unit: Literal["", "tokens", "sequences"]
    n_convention: NConvention
    c_convention: CConvention
    sequence_length: int = 1
    n_range: Range | None = None
    d_range: Range | None = None
    c_range: Range | None = None
    note: str = ""

    @property
    def source(self) -> str:
        """Whose rule it is, in short."""
        return self.name.partition(",")[0]

    @property
    def variables(self) -> tuple[str, ...]:
        """What the rule is called with: n in parameters, d in tokens, c in FLOPs."""
        return self.law.variables

    def __call__(
        self, *, n: ArrayLike | None = None, d: ArrayLike | None = None, c: ArrayLike | None = None
    ) -> Array:
        """Return the learning rate, or the batch in the paper's own unit; arrays broadcast.

        n: parameters, d: tokens, c: FLOPs, counted as the paper does; what the rule does not use
        is ignored. Raises InputError if one that it uses is missing.
        """
        given = {"n": n, "d": d, "c": c}
        values: list[ArrayLike] = []
        for name in self.variables:
            value = given[name]
            if value is None:
                raise InputError(f"{self.name} needs {name}")
            values.append(value)
        return self.law(*values)

    def tokens(
        self, *, n: ArrayLike | None = None, d: ArrayLike | None = None, c: ArrayLike | None = None
    ) -> Array:
        """Return the batch in tokens, arguments as for a call; InputError for a learning rate."""
        if self.gives == "lr":
            raise InputError(f"{self.name} gives a learning rate, not a batch")
        return np.asarray(self(n=n, d=d, c=c) * self.sequence_length)

    def inside(
        self, *, n: ArrayLike | None = None, d: ArrayLike | None = None, c: ArrayLike | None = None
    ) -> NDArray[np.bool_]:
        """Return whether models lie in the range measured, as far as a range is known."""
        held = np.asarray(True)
        for value, span in ((n, self.n_range), (d, self.d_range), (c, self.c_range)):
            if value is not None and span is not None:
                # A published end is rounded: a model at the end is inside.
                low, high = span[0] / 1.01, span[1] * 1.01
                x = np.asarray(value, dtype=np.float64)
                held = held & (low <= x) & (x <= high)
        return np.asarray(held)

    def outside(self, *, n: float, d: float, c: float) -> tuple[float, str]:
        """Return how many times outside the range measured a model lies, and in words in what.

        n: parameters, d: tokens, c: FLOPs, counted as the paper does. Inside it is 1 and "".
        """
        far, said = 1.0, []
        for name, value, what in (("n", n, "parameters"), ("d", d, "tokens"), ("c", c, "FLOPs")):
            span: Range | None = getattr(self, f"{name}_range")
            if span is not None and not self.inside(**{name: value}):
                far = max(far, value / span[1], span[0] / value)
                ends = " to ".join(format_number(end) for end in span)
                said.append(f"{format_number(value)} {what}, measured from {ends}")
        return far, "; ".join(said)

    def measures(
        self, shape: Shape, tokens: float, otherwise: NConvention = "total"
    ) -> dict[str, float]:
        """Return n, d and c of a shape trained on some tokens, counted as the paper counts.

        otherwise: how n is counted where the paper does not say.
        """
        known = self.n_convention in COUNT_CONVENTIONS
        n = count_params(shape, self.n_convention if known else otherwise)
        if self.c_convention == "6nd":
            per_token = 6.0 * n
        else:  # DeepSeek's: every matrix multiply but the head's
            per_token = flops_per_token(shape, "exact") - 6.0 * shape.d_model * shape.vocab
        return {"n": float(n), "d": float(tokens), "c": per_token * tokens}
