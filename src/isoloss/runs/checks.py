"""Checks of single values, for everything a user writes: each names the field and the rule."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable

from isoloss.errors import InputError
from isoloss.units import parse_number


def refuse_unknown(keys: Iterable[str], known: list[str], where: str) -> None:
    """Raise InputError on a key that is not known, with the nearest one that is."""
    for key in keys:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise InputError(f"unknown key {key!r} in {where}; {hint}")


def require(holds: bool, name: str, value: object, rule: str) -> None:
    """Raise InputError unless the rule holds: `name is value; it must rule`."""
    if not holds:
        raise InputError(f"{name} is {value}; it must {rule}")


def number_of(value: object, name: str) -> float:
    """Return a finite number, from one or from text such as "600K"; InputError otherwise."""
    if hasattr(value, "item"):  # a numpy scalar
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise InputError(f"{name} is {value!r}; it must be a number")
    try:
        number = parse_number(value)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    require(math.isfinite(number), name, number, "be finite")
    return number


def whole_of(value: object, name: str) -> int:
    """Return a whole number, likewise; InputError otherwise."""
    # An int stays exact: a float would round seeds and counts above 2^53.
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    number = number_of(value, name)
    require(number == int(number), name, number, "be a whole number")
    return int(number)
