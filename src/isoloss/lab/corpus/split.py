"""Which documents are held out: whole units, chosen by the hash of their name.

A unit (a file, a package of source files, a document) is never on both sides. Units are taken in
the order of the SHA-256 of their name, each one that does not overshoot the target, until the
validation set is as large as asked. The choice does not depend on the order of reading, on a seed
or on the machine. A plain threshold on the hash would be simpler, but a corpus of two hundred units
of very unequal size, as Python's standard library is, can miss a target of 5 % by half.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

_TOLERANCE = 0.02
"""The share of the target by which a unit may overshoot it, or that may be missing from it."""

WORST = 2.0
"""A split whose validation set is off the target by more than this factor is no split."""


def choose_validation(sizes: Mapping[str, int], fraction: float) -> frozenset[str] | None:
    """Choose the units held out, or None where no choice comes within a factor of two.

    sizes: bytes of each unit, by name. fraction: wanted share of bytes in the validation set.
    """
    units = sorted(sizes, key=hash_of_unit)
    chosen = choose_in_order([sizes[unit] for unit in units], fraction)
    return None if chosen is None else frozenset(units[number] for number in chosen)


def choose_in_order(sizes: Sequence[int], fraction: float) -> list[int] | None:
    """Choose as `choose_validation` does, from units already in the order of their hash.

    sizes: bytes of each unit. Returns the places in `sizes` of those held out.
    """
    target = fraction * sum(sizes)
    chosen: list[int] = []
    held = 0
    for number, size in enumerate(sizes):
        if held + size <= target * (1 + _TOLERANCE):
            chosen.append(number)
            held += size
        if held >= target * (1 - _TOLERANCE):
            break
    if not chosen or held < target / WORST:
        # Units too large for the target: the first by hash, if it leaves enough to train on.
        return [0] if sizes and sizes[0] <= target * WORST else None
    return chosen


def hash_of_unit(unit: str) -> bytes:
    """The unit's place in the order of choice; the prefix sets it apart from other hashes."""
    return hashlib.sha256(b"isoloss split 1\n" + unit.encode("utf-8", "replace")).digest()
