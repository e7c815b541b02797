"""In how many bits to train, where a FLOP is the cheaper the fewer bits it has.

Compute is counted as 6 n d in 16 bits and in proportion to the bits otherwise; training in few of
them leaves of n parameters what fewer would do. The best number of bits is very sensitive to the
form of that loss: `NOTE` says what the published constants give, and what they do not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from isoloss.errors import InputError
from isoloss.laws.allocation import HoldsLaw, allocate, held_law
from isoloss.laws.forms import Array, Chinchilla, Coefficient, as_coefficient, positive
from isoloss.laws.search import minimum
from isoloss.laws.variants import OffsetPrecision, Precision, QuantizationLoss

NOTE = (
    "the paper says 7-8 bits; its Table 2 gives 7.0 with its offsets, 3.5 without them, and 5.1 "
    "where one scale (that of the weights) stands for all, 3 u = exp(u) - 1 at u = 1.9038: the "
    "answer is that of the form, not of the data"
)
"""What the published constants give for the best number of bits."""

_FULL = 16.0
_LEAST_BITS, _MOST_BITS = 1.0, 64.0
_LOG_BITS = (math.log(0.5), math.log(1e3))


@dataclass(frozen=True)
class Bits:
    """What to train, and in how many bits, with a budget.

    bits: of weights, activations and the key-value cache alike. n: parameters, d: tokens. loss:
    nats. kept: the share of n that counts in that many bits. note: how far to believe the bits.
    """

    bits: float
    n: float
    d: float
    loss: float
    kept: float
    note: str = NOTE


def allocate_bits(
    law: Precision | OffsetPrecision | HoldsLaw,
    flops: float,
    *,
    bits: float | None = None,
    n: float | None = None,
) -> Bits:
    """Find the bits, parameters and tokens of least loss for a budget.

    minimise law(n, d, p, p, p) subject to (p / 16) * 6 n d = flops. With n free the best p is that
    of the greatest kept(p) / p, whatever the budget, and n and d are Chinchilla's for 16 kept(p) /
    p times it; with n fixed it grows with the budget, as beta * gamma * ln(flops).
    law: Precision or OffsetPrecision, or what holds one (published.KUMAR_2024,
    KUMAR_2024_OFFSETS). flops: in 16-bit FLOPs. bits, n: held at that if given.
    Returns Bits, with what is doubtful about them in its note.
    Raises InputError for a law of another form, or many, or what is not positive.
    Source: Kumar et al. 2024, Eq. 28. Left out: different bits for weights,
    activations and cache; whether any machine computes so.
    """
    form = _of_bits(law)
    budget = float(positive(flops, "flops"))
    if n is not None:
        return _at_size(form, budget, float(positive(n, "n")), bits)
    if bits is None:
        p = _least(lambda u: u - np.log(_kept(form, np.exp(u))))
    else:
        p = _checked_bits(bits)
    share = _checked_share(form, p)
    base = Chinchilla(form.E, form.A, form.B, form.alpha, form.beta)
    best = allocate(base, budget * _FULL * share / p)
    return Bits(p, float(best.n) / share, float(best.d), float(best.loss), share)


def critical_tokens(
    law: Precision | OffsetPrecision | HoldsLaw,
    rounding: QuantizationLoss | HoldsLaw,
    n: ArrayLike,
    bits: ArrayLike,
) -> Coefficient:
    """Return the tokens beyond which training on makes a model worse once it is rounded.

    d = (beta B n ** gamma_n exp(p / gamma_post) / (gamma_d CT)) ** (1 / (gamma_d + beta)), where
    B / d ** beta + CT d ** gamma_d / n ** gamma_n exp(-p / gamma_post) is least.
    law: of training, published.KUMAR_2024. rounding: of the weights afterwards,
    published.KUMAR_2024_POST. n: parameters. bits: p, after training; they broadcast.
    Raises InputError for laws of other forms, or what is not positive.
    Source: Kumar et al. 2024, D_crit. Left out: that a model trained in few bits suffers less.
    """
    form, added = _of_bits(law), held_law(rounding)
    if not isinstance(added, QuantizationLoss):
        raise InputError("rounding must be a QuantizationLoss, such as published.KUMAR_2024_POST")
    log_gain = np.log(form.beta * form.B) + added.gamma_n * np.log(positive(n, "n"))
    log_harm = np.log(added.gamma_d * added.CT) - positive(bits, "bits") / added.gamma_post
    return as_coefficient(np.exp((log_gain - log_harm) / (added.gamma_d + form.beta)))


def _at_size(
    form: Precision | OffsetPrecision, budget: float, n: float, bits: float | None
) -> Bits:
    def tokens(p: Array) -> Array:
        return budget * _FULL / (6.0 * n * p)

    if bits is None:
        p = _least(lambda u: form(n, tokens(np.exp(u)), *(np.exp(u),) * 3))
    else:
        p = _checked_bits(bits)
    share = _checked_share(form, p)
    d = float(tokens(np.asarray(p)))
    return Bits(p, n, d, float(form(n, d, p, p, p)), share)


def _least(curve: Callable[[Array], Array]) -> float:
    low, high = (np.asarray(end) for end in _LOG_BITS)
    with np.errstate(divide="ignore"):
        return float(np.exp(minimum(curve, low, high)))


def _kept(form: Precision | OffsetPrecision, bits: Array) -> Array:
    return form.kept(bits, bits, bits)


def _checked_bits(bits: float) -> float:
    if not _LEAST_BITS <= float(positive(bits, "bits")) <= _MOST_BITS:
        raise InputError(f"bits is {bits:g}; give {_LEAST_BITS:g} to {_MOST_BITS:g}")
    return float(bits)


def _checked_share(form: Precision | OffsetPrecision, bits: float) -> float:
    share = float(_kept(form, np.asarray(bits)))
    if not share > 0:
        raise InputError(f"the law leaves nothing of a model trained in {bits:g} bits: give more")
    return share


def _of_bits(source: object) -> Precision | OffsetPrecision:
    found = held_law(source)
    if not isinstance(found, Precision | OffsetPrecision):
        raise InputError(
            f"{type(found).__name__} says nothing of bits: give a Precision law, such as "
            "published.KUMAR_2024_OFFSETS"
        )
    if any(np.ndim(value) for value in found.coefficients().values()):
        raise InputError("the law holds many draws: give one of them at a time")
    return found
