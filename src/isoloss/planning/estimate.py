"""A number and how sure it is."""

from __future__ import annotations

from collections.abc import Callable
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
