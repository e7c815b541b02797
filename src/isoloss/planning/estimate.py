"""A number and how sure it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple


class Estimate(NamedTuple):
    """A number with its interval; low and high are None where the source gives no doubt."""

    low: float | None
    mid: float
    high: float | None

    def scaled(self, to: Callable[[float], float]) -> Estimate:
        """Return what a rising function makes of the number and its ends."""
        low, high = (None if end is None else to(end) for end in (self.low, self.high))
        return Estimate(low, to(self.mid), high)


def sure(value: float) -> Estimate:
    """Return a number without doubt."""
    return Estimate(None, value, None)


def estimate_of(values: Sequence[float]) -> Estimate:
    """Return the first of the values, between the least and the greatest where there are several.

    So it is with what rises or falls along an interval: give it at the middle, then at the ends.
    """
    return Estimate(min(values), values[0], max(values)) if len(values) > 1 else sure(values[0])
