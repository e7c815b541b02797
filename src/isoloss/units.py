"""Units people use for compute, loss and large numbers."""

from __future__ import annotations

import math
import re

from isoloss.errors import InputError

PF_DAY = 8.64e19
"""FLOPs in one PF-day: 1e15 FLOP/s for 24 hours (Kaplan et al. 2020, section 1.3)."""

LN2 = math.log(2.0)

_POWERS = {"": 0, "k": 3, "m": 6, "b": 9, "g": 9, "t": 12, "p": 15}
_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:[eE]([+-]?\d+))?\s*([a-zA-Z]?)")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(?![\d,])")


def parse_number(text: str | float) -> float:
    """Read a number as people write it: `7B`, `1.5T`, `802.8K`, `1e21`, `1,000`.

    text: a string, or a number, which is returned as a float.
    Suffixes, in either case: K 1e3, M 1e6, B or G 1e9, T 1e12, P 1e15. A comma parts thousands
    and nothing else: 1,5 is refused, for it is 1.5 to some and 15 to nobody.
    Returns the float nearest to what is written, so that 4.1M is 4,100,000 exactly.
    Raises InputError if it is not such a number.
    """
    if isinstance(text, int | float):
        try:
            return float(text)
        except OverflowError:
            raise InputError("it is above 1.8e308, the largest number there is here") from None
    plain = text.strip()
    if "," not in plain or _THOUSANDS.match(plain):
        plain = plain.replace(",", "").replace("_", "")
    match = _NUMBER.fullmatch(plain)
    if match is None or match[3].lower() not in _POWERS:
        raise InputError(f"{text!r} is not a number; write one such as 7B, 1.5T or 1e21")
    # Not mantissa * power: 4.1 * 1e6 is 4099999.9999999995.
    return float(f"{match[1]}e{int(match[2] or 0) + _POWERS[match[3].lower()]}")


def format_number(value: float, digits: int = 3) -> str:
    """Write a number as people read it: 7.00B, 1.50T; below 1,000 plainly; else 1.00e+21.

    digits: significant digits. Scientific from 1e15 up and, but for 0, below 1e-3.
    """
    if not math.isfinite(value):
        return str(value)
    value = float(f"{value:.{digits - 1}e}")  # rounded first: 999,999 is 1.00M, not 1000K
    size = abs(value)
    if size >= 1e15 or (0 < size < 1e-3):
        return f"{value:.{digits - 1}e}"
    for scale, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if size >= scale:
            return f"{_significant(value / scale, digits)}{suffix}"
    return _significant(value, digits)


def percent(level: float) -> str:
    """Write the level of an interval with all its digits: 90%, 99.9%."""
    return f"{100 * level:.10g}%"


def plural(number: int, noun: str) -> str:
    """Write a number of things: 1 run, 1,200 runs."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _significant(value: float, digits: int) -> str:
    if value == 0:
        return "0"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{places}f}"


def nats_to_bits(nats: float) -> float:
    """Convert a loss from nats to bits: bits = nats / ln 2."""
    return nats / LN2
