"""From what there is to spend to the compute and the sizes that a plan may choose from.

A cap on tokens makes small models unable to use the budget, a cap on parameters large ones
impossible: together they leave a range of sizes. The loss falls towards the best size from both
sides, so where that lies outside the range the nearest end is the best of what is left.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from isoloss.errors import InputError, argument
from isoloss.laws.allocation import Cost, HoldsLaw, LossOfND, allocate, per_token
from isoloss.laws.forms import Array, Law
from isoloss.laws.required import compute_at_size, compute_for_loss, tokens_for_loss
from isoloss.laws.search import LOG_SIZES, turning
from isoloss.planning.budget import Budget
from isoloss.units import format_number

_DEARER = 1.001  # a smaller rise of the compute is rounding


@dataclass(frozen=True, eq=False)
class Limits:
    """The compute to spend, and the sizes from low to high that can spend it within the caps.

    needed: FLOPs of the target loss, (k,) for draws of the law, where one was asked for; flops is
    their median. notes: what the caps do to the budget, or to the compute of the loss.
    """

    flops: float
    low: float = 0.0
    high: float = math.inf
    needed: Array | None = None
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

    law: or draws of it; a loss then takes the median of what the draws say, and the caps are met at
    the size that this median needs. cost: n -> FLOPs per token, default 6 n.
    Raises InputError where the loss cannot be had: at no compute, within the caps, or for the
    budget.
    """
    if spend.loss is None:
        assert spend.flops is not None
        return _capped(spend, spend.flops, cost)
    unlimited = compute_for_loss(law, spend.loss, cost=cost)
    free = float(np.median(unlimited))
    if not math.isfinite(free):
        raise InputError(f"no compute reaches a loss of {spend.loss:g}: give a higher one")
    best = float(np.median(np.asarray(allocate(law, free, cost=cost).n)))
    size = min(max(best, _least_size(law, spend)), spend.max_params or math.inf)
    needed = unlimited
    if size != best:
        needed = compute_at_size(law, size, spend.loss, cost=cost)
    flops = float(np.median(needed))
    if not math.isfinite(flops):
        raise InputError(
            f"no compute reaches a loss of {spend.loss:g} with {format_number(size)} parameters or "
            f"fewer: raise {argument('max_params')}"
        )
    if spend.flops is not None and flops > spend.flops:
        raise InputError(
            f"a loss of {spend.loss:g} takes {flops:.3g} FLOPs, more than the {spend.flops:.3g} "
            f"that {argument(spend.bound_by)} allows: give a higher loss or a larger budget"
        )
    dearer = (f"the caps raise the compute of this loss by {flops / free - 1:.0%}",)
    held = _capped(spend, flops, cost)
    return replace(held, needed=needed, notes=dearer if flops > _DEARER * free else ())


def _least_size(law: Law | HoldsLaw | LossOfND, spend: Budget) -> float:
    """The smallest size that reaches the loss on no more than max_tokens; 0 without that cap."""
    if spend.max_tokens is None or spend.loss is None:
        return 0.0
    most, loss = spend.max_tokens, spend.loss

    found = _least(lambda n: float(np.median(tokens_for_loss(law, n, loss))) <= most)
    if not math.isfinite(found):
        raise InputError(
            f"no size reaches a loss of {loss:g} on {format_number(most)} tokens: raise "
            f"{argument('max_tokens')}"
        )
    if found > (spend.max_params or math.inf):
        raise InputError(
            f"a loss of {loss:g} takes {format_number(found)} parameters on {format_number(most)} "
            f"tokens, more than {argument('max_params')}"
        )
    return found


def _capped(spend: Budget, flops: float, cost: Cost | None) -> Limits:
    high = spend.max_params or math.inf
    if spend.max_tokens is None:
        return Limits(flops, 0.0, high)
    low = _size_for(flops / spend.max_tokens, cost)
    if low <= high:
        return Limits(flops, low, high)
    spent = float(per_token(np.asarray(high), cost)) * spend.max_tokens
    unspent = f"the caps leave {1 - spent / flops:.0%} of the budget of {flops:.3g} FLOPs unspent"
    return Limits(spent, high, high, notes=(unspent,))


def _size_for(price: float, cost: Cost | None) -> float:
    """The size at which a token costs so many FLOPs."""
    if cost is None:
        return price / 6.0
    return _least(lambda n: float(per_token(np.asarray(n), cost)) >= price)


def _least(enough: Callable[[float], bool]) -> float:
    """The least size that is enough for something, infinite if none is."""
    if not enough(math.exp(LOG_SIZES[1])):
        return math.inf
    return math.exp(turning(lambda log_n: enough(math.exp(log_n)), *LOG_SIZES)[1])
