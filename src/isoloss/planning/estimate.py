"""A number and how sure it is."""

from __future__ import annotations

from typing import NamedTuple


class Estimate(NamedTuple):
    """A number with its interval; low and high are None where the source gives no doubt."""

    low: float | None
    mid: float
    high: float | None


def sure(value: float) -> Estimate:
    """Return a number without doubt."""
    return Estimate(None, value, None)
