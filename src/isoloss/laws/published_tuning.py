"""The papers' rules for learning rate and batch, each with what it counts and where it held.

A critical batch is no best one: it is where larger batches stop paying for themselves. Power Lines
says how a batch carries over to more tokens, and which weight decay goes with it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from isoloss.laws.forms import Array
from isoloss.laws.tuning_rules import LogLinear, PowerProduct, TuningRule
from isoloss.units import PF_DAY

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
"""Rate and batch that belong together, by source, in the order in which a plan asks them."""

POWER_LINES_CITATION = "Bergsma et al. (2025), Power Lines, arXiv:2505.13738"

POWER_LINES_RANGE = (111e6, 3.3e9)
"""The smallest and the largest parameters that Power Lines measured."""

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
