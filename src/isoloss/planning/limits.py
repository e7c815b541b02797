"""From what there is to spend to the compute and the sizes that a plan may choose from.

A cap on tokens makes small models unable to use the budget, a cap on parameters large ones
impossible: together they leave a range of sizes. The loss falls towards the best size from both
sides, so where that lies outside the range the nearest end is the best of what is left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from isoloss.errors import InputError
from isoloss.laws.allocation import Cost, HoldsLaw, LossOfND, allocate
from isoloss.laws.forms import Array, Law
from isoloss.laws.required import compute_at_size, compute_for_loss
from isoloss.planning.budget import Budget
from isoloss.units import format_number

_LOG_SIZES = (0.0, math.log(1e18))
_BISECTIONS = 80


@dataclass(frozen=True)
class Limits:
    """The compute to spend, and the sizes from low to high that can spend it within the caps.

    notes: what the caps do to the budget.
    """

    flops: float
    low: float = 0.0
    high: float = math.inf
    notes: tuple[str, ...] = ()

    def hold(self, n: float) -> float:
        """Return the allowed size nearest to n."""
        return min(max(n, self.low), self.high)

    def within(self, span: tuple[float, float] | None) -> tuple[float, float] | None:
        """Return the part of a range of sizes that is allowed, None if there is none."""
        if span is None or span[0] > self.high or span[1] < self.low:
            return None
        return max(span[0], self.low), min(span[1], self.high)


def limits(spend: Budget, law: Law | HoldsLaw | LossOfND, cost: Cost | None) -> Limits:
    """Return the compute that a budget buys, or a loss takes, and the sizes that may spend it.

    law: or draws of it; a loss then takes the median of what the draws say. cost: n -> FLOPs per
    token, default 6 n.
    Raises InputError where the loss cannot be had: at no compute, within the caps, or for the
    budget.
    """
    if spend.loss is None:
        assert spend.flops is not None
        return _capped(spend, spend.flops, cost)
    needed = needed_for(law, spend, cost)
    flops, free = (
        float(np.median(x)) for x in (needed, compute_for_loss(law, spend.loss, cost=cost))
    )
    if not math.isfinite(free):
        raise InputError(f"no compute reaches a loss of {spend.loss:g}: give a higher one")
    if not math.isfinite(flops):
        raise InputError(
            f"no compute reaches a loss of {spend.loss:g} with "
            f"{format_number(spend.max_params or 0.0)} parameters or fewer: raise max_params"
        )
    if spend.flops is not None and flops > spend.flops:
        raise InputError(
            f"a loss of {spend.loss:g} takes {flops:.3g} FLOPs, more than the {spend.flops:.3g} "
            f"that {spend.bound_by} allows: give a higher loss or a larger budget"
        )
    dearer = (f"the caps raise the compute of this loss by {flops / free - 1:.0%}",)
    return replace(_capped(spend, flops, cost), notes=dearer if flops > 1.001 * free else ())


def needed_for(law: Law | HoldsLaw | LossOfND, spend: Budget, cost: Cost | None) -> Array:
    """Return the FLOPs that the target loss takes within the caps, (k,) for draws of the law.

    The caps are met at the size that the median of the draws needs.
    Raises InputError if no size does within both.
    """
    assert spend.loss is not None
    free = compute_for_loss(law, spend.loss, cost=cost)
    middle = float(np.median(free))
    if not math.isfinite(middle):
        return free
    best = float(np.median(np.asarray(allocate(law, middle, cost=cost).n)))
    low = _least_size(law, spend, cost) if spend.max_tokens else 0.0
    high = spend.max_params or math.inf
    if not math.isfinite(low):
        raise InputError(
            f"no size reaches a loss of {spend.loss:g} on {format_number(spend.max_tokens or 0.0)} "
            "tokens: raise max_tokens"
        )
    if low > high:
        raise InputError(
            f"a loss of {spend.loss:g} takes {format_number(low)} parameters on "
            f"{format_number(spend.max_tokens or 0.0)} tokens, more than max_params"
        )
    if low <= best <= high:
        return free
    return compute_at_size(law, min(max(best, low), high), spend.loss, cost=cost)


def _least_size(law: Law | HoldsLaw | LossOfND, spend: Budget, cost: Cost | None) -> float:
    """The smallest size that reaches the loss within max_tokens, infinite if none does."""

    def tokens(log_n: float) -> float:
        n = math.exp(log_n)
        needed = compute_at_size(law, n, spend.loss or 0.0, cost=cost)
        return float(np.median(needed)) / _price(n, cost)

    most = spend.max_tokens or math.inf
    low, high = _LOG_SIZES
    if tokens(high) > most:
        return math.inf
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if tokens(middle) > most else (low, middle)
    return math.exp(high)


def _capped(spend: Budget, flops: float, cost: Cost | None) -> Limits:
    high = spend.max_params or math.inf
    if spend.max_tokens is None:
        return Limits(flops, 0.0, high)
    low = _size_for(flops / spend.max_tokens, cost)
    if low <= high:
        return Limits(flops, low, high)
    spent = _price(high, cost) * spend.max_tokens
    return Limits(
        spent,
        high,
        high,
        (f"the caps leave {1 - spent / flops:.0%} of the budget of {flops:.3g} FLOPs unspent",),
    )


def _size_for(price: float, cost: Cost | None) -> float:
    """The size at which a token costs so many FLOPs."""
    if cost is None:
        return price / 6.0
    low, high = _LOG_SIZES
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if _price(math.exp(middle), cost) < price else (low, middle)
    return math.exp(high)


def _price(n: float, cost: Cost | None) -> float:
    return 6.0 * n if cost is None else float(np.asarray(cost(np.asarray(n))))
