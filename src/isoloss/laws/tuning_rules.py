"""What the papers say about learning rate and batch, each with what it counts and where it held.

A rule is no law of nature: it was fitted to one optimizer, one schedule and one range of sizes,
and outside that range it may ask for rates no model survives. So every rule says its range, and
`TuningRule.inside` says whether a model lies in it. Batches are given in tokens here; a rule
published in sequences carries their length.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isoloss.errors import InputError
from isoloss.laws.forms import Array

if TYPE_CHECKING:
    from isoloss.counting import CConvention, NConvention

Range = tuple[float, float]


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

    gives: "lr", the peak learning rate, or "batch", in the paper's `unit`: "" for a rate,
    "tokens", or "sequences" of `sequence_length` tokens, which `tokens` multiplies.
    n_convention, c_convention: how the paper counted parameters and compute.
    n_range, d_range, c_range: smallest and largest parameters, tokens and FLOPs measured; None
    where our reading of the paper found none, and then that variable is not held against a model.
    """

    law: PowerProduct | LogLinear
    name: str
    citation: str
    where: str
    gives: Literal["lr", "batch"]
    unit: Literal["", "tokens", "sequences"]
    n_convention: NConvention
    c_convention: CConvention
    sequence_length: int = 1
    n_range: Range | None = None
    d_range: Range | None = None
    c_range: Range | None = None
    note: str = ""

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
        if self.gives != "batch":
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


_KAPLAN = "Kaplan et al. (2020), Scaling Laws for Neural Language Models, arXiv:2001.08361"
_DEEPSEEK = "DeepSeek-AI (2024), DeepSeek LLM, arXiv:2401.02954"
_PORIAN = "Porian et al. (2024), Resolving Discrepancies in Compute-Optimal Scaling of Language \
Models, arXiv:2406.19146"
_STEP_LAW = "Li et al. (2025), Predictable Scale: Part I, Step Law, arXiv:2503.04715"

STEP_LAW_LR = TuningRule(
    law=PowerProduct(1.79, {"n": -0.713, "d": 0.307}),
    name="Step Law, rate",
    citation=_STEP_LAW,
    where="the law of the abstract; 1,000 resamplings give -0.713 +- 0.030 and 0.307 +- 0.019",
    gives="lr",
    unit="",
    n_convention="non_embedding",
    c_convention="6nd",
    n_range=(4e8, 1e9),
    d_range=(4e10, 1e11),
    note="at the best batch, with a small fixed final rate; the range is that of the two grids "
    "shown, smaller ones were measured too",
)
"""Step Law's learning rate from parameters and tokens."""

STEP_LAW_BATCH = TuningRule(
    law=PowerProduct(0.58, {"d": 0.571}),
    name="Step Law, batch",
    citation=_STEP_LAW,
    where="the law of the abstract; 1,000 resamplings give 0.571 +- 0.019",
    gives="batch",
    unit="tokens",
    n_convention="non_embedding",
    c_convention="6nd",
    n_range=(4e8, 1e9),
    d_range=(4e10, 1e11),
    note="the range is that of the two grids shown, smaller ones were measured too",
)
"""Step Law's batch from tokens."""

DEEPSEEK_LR = TuningRule(
    law=PowerProduct(0.3118, {"c": -0.1250}),
    name="DeepSeek, rate",
    citation=_DEEPSEEK,
    where="section 3.1",
    gives="lr",
    unit="",
    n_convention="unknown",
    c_convention="unknown",
    c_range=(1e17, 2e19),
    note="c = (72 n_layer d_model^2 + 12 n_layer d_model n_ctx) d, without the vocabulary; sources "
    "differ on where the grids end, 2e19 or 2e20",
)
"""DeepSeek's learning rate from compute."""

DEEPSEEK_BATCH = TuningRule(
    law=PowerProduct(0.2920, {"c": 0.3271}),
    name="DeepSeek, batch",
    citation=_DEEPSEEK,
    where="section 3.1",
    gives="batch",
    unit="tokens",
    n_convention="unknown",
    c_convention="unknown",
    c_range=(1e17, 2e19),
    note="c as for the rate",
)
"""DeepSeek's batch from compute."""

PORIAN_LR = TuningRule(
    law=PowerProduct(0.0047 * 108e6 ** (1 / 3), {"n": -1 / 3}),
    name="Porian, rate",
    citation=_PORIAN,
    where="0.0047 (n / 108e6)^(-1/3), as in the released code",
    gives="lr",
    unit="",
    n_convention="non_embedding_plus_head",
    c_convention="6nd",
    n_range=(5_175_744, 902_090_176),
    note="at its own batch, with a constant rate; the exponent before rounding is -0.36",
)
"""Porian's learning rate from parameters."""

PORIAN_BATCH = TuningRule(
    law=PowerProduct(160 / 108e6 ** (2 / 3), {"n": 2 / 3}),
    name="Porian, batch",
    citation=_PORIAN,
    where="160 (n / 108e6)^(2/3) sequences of 2,048 tokens, as in the released code",
    gives="batch",
    unit="sequences",
    n_convention="non_embedding_plus_head",
    c_convention="6nd",
    sequence_length=2048,
    n_range=(5_175_744, 902_090_176),
    note="the exponent before rounding is 0.703",
)
"""Porian's batch from parameters, in sequences."""

KAPLAN_LR = TuningRule(
    law=LogLinear(0.003239, -0.0001395),
    name="Kaplan, rate",
    citation=_KAPLAN,
    where="Eq. D.1",
    gives="lr",
    unit="",
    n_convention="non_embedding",
    c_convention="6nd",
    n_range=(768.0, 1.5e9),
    d_range=(22e6, 23e9),
    note="the logarithm is natural; at batches of 2^19 tokens; zero at 1.2e10 parameters",
)
"""Kaplan's learning rate from parameters."""

TUNING_RULES = (
    STEP_LAW_LR,
    DEEPSEEK_LR,
    PORIAN_LR,
    KAPLAN_LR,
    STEP_LAW_BATCH,
    DEEPSEEK_BATCH,
    PORIAN_BATCH,
)
"""The published rules, rates first."""
