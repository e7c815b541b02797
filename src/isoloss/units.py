"""Units people use for compute, loss and large numbers."""

from __future__ import annotations

import math
import re

from isoloss.errors import InputError

PF_DAY = 8.64e19
"""FLOPs in one PF-day: 1e15 FLOP/s for 24 hours (Kaplan et al. 2020, section 1.3)."""

LN2 = math.log(2.0)

_SUFFIXES = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12, "p": 1e15}
_NUMBER = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([a-zA-Z]?)\s*")


def parse_number(text: str | float) -> float:
    """Read a number as people write it: `7B`, `1.5T`, `802.8K`, `1e21`, `1,000`.

    text: a string, or a number, which is returned as a float.
    Suffixes, in either case: K 1e3, M 1e6, B or G 1e9, T 1e12, P 1e15.
    Raises InputError if it is not such a number.
    """
    if isinstance(text, int | float):
        return float(text)
    match = _NUMBER.fullmatch(text.replace(",", "").replace("_", ""))
    if match is None or match[2].lower() not in _SUFFIXES:
        raise InputError(f"{text!r} is not a number; write one such as 7B, 1.5T or 1e21")
    return float(match[1]) * _SUFFIXES[match[2].lower()]


def format_number(value: float, digits: int = 3) -> str:
    """Write a number as people read it: 7.00B, 1.50T; below 1,000 plainly, above 1e15 as 1.00e+21."""
    if not math.isfinite(value):
        return str(value)
    size = abs(value)
    if size >= 1e15 or (0 < size < 1e-3):
        return f"{value:.{digits - 1}e}"
    for scale, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if size >= scale:
            return f"{_significant(value / scale, digits)}{suffix}"
    return _significant(value, digits)


def _significant(value: float, digits: int) -> str:
    if value == 0:
        return "0"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{places}f}"


def nats_to_bits(nats: float) -> float:
    """Convert a loss from nats to bits: bits = nats / ln 2."""
    return nats / LN2
