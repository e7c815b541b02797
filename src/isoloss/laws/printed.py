"""What a paper prints beside what follows from its own constants."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True)
class Printed:
    """A number that a paper prints, and the same number computed from its other numbers.

    what: the quantity. where: table or equation that prints it. text: it, as printed.
    follows: what the paper's own constants give. how: from which of them, and by what.
    rounding: the fraction by which `follows` may be off because those constants are rounded.
    unit: of both, "" for a ratio or an exponent.
    """

    what: str
    where: str
    text: str
    follows: float
    how: str
    rounding: float = 0.0
    unit: str = ""

    @property
    def value(self) -> float:
        """The printed number."""
        return float(self.text)

    @property
    def ratio(self) -> float:
        """What follows over what is printed."""
        return self.follows / self.value

    @property
    def agrees(self) -> bool:
        """Whether rounding, of what is printed and of what the rest follows from, explains it."""
        last = 10.0 ** int(Decimal(self.text).as_tuple().exponent)
        return abs(self.follows - self.value) <= 0.5 * last + self.rounding * self.follows


def rounding(
    quantity: Callable[..., float], constants: Sequence[float], digits: Sequence[int] = ()
) -> float:
    """Return the fraction by which a quantity may be off because its constants are rounded.

    sum over constants of the larger |quantity(x +- half its last digit) / quantity(x) - 1|.
    constants: the positional arguments of `quantity`, positive. digits: significant digits of each,
    by default two. To first order the worst case; beyond it, a guide.
    """
    value, total = quantity(*constants), 0.0
    for place, x in enumerate(constants):
        kept = digits[place] if digits else 2
        half = 0.5 * 10.0 ** (math.floor(math.log10(x)) + 1 - kept)
        ends = (
            quantity(*constants[:place], end, *constants[place + 1 :])
            for end in (x - half, x + half)
        )
        total += max(abs(end / value - 1.0) for end in ends)
    return total
