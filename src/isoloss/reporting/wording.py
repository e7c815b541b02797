"""Numbers and conventions as a report writes them."""

from __future__ import annotations

from typing import Any

from isoloss.figures import power_of_ten, short_number

_EN_DASH = "\N{EN DASH}"

ALPHA, BETA = "\N{GREEK SMALL LETTER ALPHA}", "\N{GREEK SMALL LETTER BETA}"
CHINCHILLA = f"E + A/N^{ALPHA} + B/D^{BETA}"
_SYMBOLS = {"alpha": ALPHA, "beta": BETA, "alpha_n": f"{ALPHA}_N", "alpha_d": f"{ALPHA}_D"}

_COUNTS = {
    "non_embedding": "non-embedding (Kaplan's count)",
    "non_embedding_plus_head": "non-embedding + head",
    "total": "all parameters",
    "active": "active parameters",
    "unknown": "an unstated count of parameters",
}
_COSTS = {
    "exact": "exact FLOPs",
    "6nd": "6ND",
    "kaplan": "Kaplan's formula",
    "chinchilla": "Hoffmann's appendix F",
    "reported": "FLOPs as reported",
    "unknown": "an unstated count of FLOPs",
}


def count_name(convention: str) -> str:
    """Name a convention of counting parameters."""
    return _COUNTS.get(convention, convention)


def cost_name(convention: str) -> str:
    """Name a convention of counting compute."""
    return _COSTS.get(convention, convention)


def count(value: float) -> str:
    """Write parameters or tokens: 72.5K."""
    return short_number(value)


def flops(value: float) -> str:
    """Write compute to three figures, as a power of ten."""
    return power_of_ten(value, digits=3)


def decimals(value: float, digits: int = 3) -> str:
    """Write a number with so many decimals and a true minus."""
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def coefficient(value: float) -> str:
    """Write a coefficient to three decimals or three figures, whichever says more."""
    if 0.1 <= abs(value) < 10:
        return decimals(value)
    if 10 <= abs(value) < 100:
        return decimals(value, 1)
    if 100 <= abs(value) < 1e6:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 1e6 else power_of_ten(value, digits=3)


def ratio(value: float) -> str:
    """Write how many times one thing is another, to three figures."""
    return f"{value:.3g}" if value < 1000 else short_number(value)


def refusal(what: str, reason: str) -> str:
    """Say that there is no such thing, and why, in one sentence."""
    text = reason[:1].upper() + reason[1:] if reason.startswith("no ") else f"No {what}: {reason}"
    return text if text.endswith(".") else f"{text}."


def symbol(name: str) -> str:
    """Write a coefficient's name as the papers print it."""
    return _SYMBOLS.get(name, name)


def percent(share: float, digits: int = 0) -> str:
    """Write a share as a percentage."""
    return f"{decimals(100 * share, digits)} %"


def span(low: float, high: float, write: Any = decimals) -> str:
    """Write an interval: 1.80 to 1.86, with an en dash."""
    first, last = write(low), write(high)
    return f"{first}{_EN_DASH}{last}" if first != last else str(first)


def with_interval(estimate: Any, write: Any = decimals) -> str:
    """Write a value with its interval in brackets; without brackets if it has none."""
    text: str = write(estimate.mid)
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} ({span(estimate.low, estimate.high, write)})"
