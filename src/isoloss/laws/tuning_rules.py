"""What the papers say about learning rate and batch, each with what it counts and where it held.

A rule is no law of nature: it was fitted to one optimizer, one schedule and one range of sizes,
and outside that range it may ask for rates no model survives. So every rule says its range, and
`TuningRule.inside` says whether a model lies in it. Batches are given in tokens here; a rule
published in sequences carries their length. A critical batch is no best one: it is where larger
batches stop paying for themselves.
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
from isoloss.units import PF_DAY, format_number

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


_KAPLAN = "Kaplan et al. (2020), Scaling Laws for Neural Language Models, arXiv:2001.08361"
_DEEPSEEK = "DeepSeek-AI (2024), DeepSeek LLM, arXiv:2401.02954"
_PORIAN = "Porian et al. (2024), Resolving Discrepancies in Compute-Optimal Scaling of Language \
Models, arXiv:2406.19146"
_STEP_LAW = "Li et al. (2025), Predictable Scale: Part I, Step Law, arXiv:2503.04715"
_ZHANG = (
    "Zhang et al. (2024), How Does Critical Batch Size Scale in Pre-training?, arXiv:2410.21676"
)

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

KAPLAN_CRITICAL_BATCH = TuningRule(
    law=PowerProduct(2.0e6 * (2 * PF_DAY) ** -0.24, {"c": 0.24}),
    name="Kaplan, critical batch",
    citation=_KAPLAN,
    where="Table 6: 2.0e6 C_min^0.24 tokens, C_min = c / 2 in PF-days",
    gives="critical_batch",
    unit="tokens",
    n_convention="non_embedding",
    c_convention="6nd",
    n_range=(768.0, 1.5e9),
    d_range=(22e6, 23e9),
    note="c is what is spent at that batch, twice the least compute",
)
"""Kaplan's critical batch along the compute-efficient frontier."""

ZHANG_CRITICAL_BATCH = TuningRule(
    law=PowerProduct(93.20 / (20 * 1e6) ** 0.468, {"d": 0.468}),
    name="Zhang, critical batch",
    citation=_ZHANG,
    where="93.20 (n / 1e6)^0.468 sequences of 512 tokens at d = 20 n, written in d",
    gives="critical_batch",
    unit="sequences",
    n_convention="unknown",
    c_convention="6nd",
    sequence_length=512,
    n_range=(85e6, 1.2e9),
    d_range=(20 * 85e6, 20 * 1.2e9),
    note="where steps are 20 % more than batches of 256 promise; with the tokens held and n varied "
    "the exponent is 0.087, so that it follows the tokens",
)
"""Zhang's critical batch from tokens, in sequences."""

TUNING_RULES = (
    STEP_LAW_LR,
    DEEPSEEK_LR,
    PORIAN_LR,
    KAPLAN_LR,
    STEP_LAW_BATCH,
    DEEPSEEK_BATCH,
    PORIAN_BATCH,
    KAPLAN_CRITICAL_BATCH,
    ZHANG_CRITICAL_BATCH,
)
"""The published rules, rates first."""

RULE_PAIRS = {
    "Step Law": (STEP_LAW_LR, STEP_LAW_BATCH),
    "DeepSeek": (DEEPSEEK_LR, DEEPSEEK_BATCH),
    "Porian": (PORIAN_LR, PORIAN_BATCH),
    "Kaplan": (KAPLAN_LR, KAPLAN_CRITICAL_BATCH),
}
"""Rate and batch that belong together, by source, the widest study first."""

BATCH_EXPONENT, BATCH_EXPONENT_INTERVAL = 0.383, (0.367, 0.391)
"""The power of the tokens that the best batch follows, with its 95 % interval, by Power Lines."""


def carried_batch(batch: ArrayLike, d: ArrayLike, to: ArrayLike) -> Array:
    """Return the batch for more tokens from the best one at fewer: batch (to / d) ** 0.383.

    batch: tokens, tuned at d tokens. to: tokens of the run to plan; arrays broadcast.
    Source: Bergsma et al. 2025 (Power Lines, arXiv:2505.13738), 111M to 3.3B parameters; their
    prefactor is left out, for we could not confirm it.
    """
    batch, d, to = (np.asarray(x, dtype=np.float64) for x in (batch, d, to))
    return np.asarray(batch * (to / d) ** BATCH_EXPONENT)


def timescale(tokens_per_param: ArrayLike) -> Array:
    """Return the best AdamW timescale, as a share of training: 1.084 (d / n) ** -0.527.

    tokens_per_param: d / n, any shape.
    Source: Bergsma et al. 2025 (Power Lines, arXiv:2505.13738); 111M to 3.3B parameters.
    """
    return np.asarray(1.084 * np.asarray(tokens_per_param, dtype=np.float64) ** -0.527)


def weight_decay(lr: ArrayLike, batch: ArrayLike, n: ArrayLike, d: ArrayLike) -> Array:
    """Return the AdamW weight decay that gives the best timescale: batch / (lr d timescale(d / n)).

    lr: peak rate. batch, d: tokens. n: parameters; arrays broadcast.
    Source: as for `timescale`, whose definition is batch / (lr weight_decay d).
    """
    lr, batch, n, d = (np.asarray(x, dtype=np.float64) for x in (lr, batch, n, d))
    return np.asarray(batch / (lr * d * timescale(d / n)))
