"""Hoffmann's tables of optimal models, the power laws through them, and what does not fit.

Table 3 is approach 1, Table A3 approaches 2 and 3: the compute and tokens for which each size is
best. Approaches 1 and 2 are power laws of compute, so the tables hold their constants, which the
paper does not print; approach 3 is the printed law, and no printed constants give its column.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from isoloss.laws.chinchilla import ChinchillaFrontier
from isoloss.laws.forms import Array, Chinchilla
from isoloss.laws.porian import MeasuredExponent
from isoloss.laws.printed import Printed
from isoloss.laws.provenance import PublishedLaw
from isoloss.laws.published import HOFFMANN_2022, HOFFMANN_2022_ROUNDED
from isoloss.laws.relations import PowerRelation


class OptimalModel(NamedTuple):
    """A row: n parameters, the FLOPs c for which it is the best size, and its tokens d."""

    n: float
    c: float
    d: float


@dataclass(frozen=True)
class OptimalModels:
    """A published table of optimal models.

    approach: 1, 2 or 3. where: the table. rows: as printed, but for `misprint`, which says what is
    printed otherwise and why it cannot stand; "" if nothing is.
    """

    approach: int
    where: str
    rows: tuple[OptimalModel, ...]
    misprint: str = ""

    @property
    def n_of_c(self) -> PowerRelation:
        """The power law of size in compute through the rows, by least squares of logarithms."""
        return self._trend("n")

    @property
    def d_of_c(self) -> PowerRelation:
        """The power law of tokens in compute that goes with it, d = c / (6 n)."""
        n = self.n_of_c
        return PowerRelation(1.0 / (6.0 * n.coefficient), 1.0 - n.exponent)

    def column(self, name: str) -> Array:
        """Return a column, "n", "c" or "d", (9,)."""
        return np.array([getattr(row, name) for row in self.rows])

    def _trend(self, name: str) -> PowerRelation:
        exponent, intercept = np.polyfit(np.log(self.column("c")), np.log(self.column(name)), 1)
        return PowerRelation(float(np.exp(intercept)), float(exponent))


HOFFMANN_TABLE_2 = (
    MeasuredExponent("approach 1", "envelope of curves", 0.50, 0.488, 0.502),
    MeasuredExponent("approach 2", "IsoFLOP profiles", 0.49, 0.462, 0.534),
    MeasuredExponent("approach 3", "parametric loss", 0.46, 0.454, 0.455),
)
"""The exponent of the best size in compute by each approach; low and high are the 10th and 90th
percentiles, and those of approach 3 do not hold its own value."""

_SIZES = (0.4e9, 1e9, 10e9, 67e9, 175e9, 280e9, 520e9, 1e12, 10e12)


def _table(
    approach: int, where: str, c: tuple[float, ...], d: tuple[float, ...], misprint: str = ""
) -> OptimalModels:
    rows = tuple(OptimalModel(*row) for row in zip(_SIZES, c, d, strict=True))
    return OptimalModels(approach, where, rows, misprint)


HOFFMANN_TABLE_3 = _table(
    1,
    "Hoffmann et al. 2022, Table 3",
    (1.92e19, 1.21e20, 1.23e22, 5.76e23, 3.85e24, 9.90e24, 3.43e25, 1.27e26, 1.30e28),
    (8.0e9, 20.2e9, 205.1e9, 1.5e12, 3.7e12, 5.9e12, 11.0e12, 21.2e12, 216.2e12),
)
"""Approach 1: the envelope of training curves."""

HOFFMANN_TABLE_A3_2 = _table(
    2,
    "Hoffmann et al. 2022, Table A3, approach 2",
    (1.84e19, 1.20e20, 1.32e22, 6.88e23, 4.54e24, 1.18e25, 4.19e25, 1.59e26, 1.75e28),
    (7.7e9, 20.0e9, 219.5e9, 1.7e12, 4.3e12, 7.1e12, 13.4e12, 26.5e12, 292.0e12),
)
"""Approach 2: IsoFLOP profiles."""

HOFFMANN_TABLE_A3_3 = _table(
    3,
    "Hoffmann et al. 2022, Table A3, approach 3",
    (2.21e19, 1.62e20, 2.46e22, 1.71e24, 1.26e25, 3.52e25, 1.36e26, 5.65e26, 8.55e28),
    (9.2e9, 27.1e9, 410.1e9, 4.1e12, 12.0e12, 20.1e12, 43.5e12, 94.1e12, 1425.5e12),
    misprint="1.26e24 FLOPs is printed for 175B parameters, where 6 N D is 1.26e25",
)
"""Approach 3: the parametric loss."""

HOFFMANN_TABLES = (HOFFMANN_TABLE_3, HOFFMANN_TABLE_A3_2, HOFFMANN_TABLE_A3_3)
"""The three, in the order of the approaches."""

_PRINTED_C = {(3, 175e9): "1.26e24"}


class ThirdApproach(NamedTuple):
    """Approach 3's tokens for a size: as printed, and by the constants of Eq. 10.

    n: parameters. printed, unrounded, rounded: tokens, the last two by HOFFMANN_2022 (TeX source)
    and HOFFMANN_2022_ROUNDED (as printed).
    """

    n: float
    printed: float
    unrounded: float
    rounded: float


def third_approach() -> tuple[ThirdApproach, ...]:
    """Return approach 3's column of Table A3 beside what both sets of constants give.

    At the size n the best tokens are d = (beta B / (alpha A)) ** (1/beta) n ** (alpha/beta).
    Neither set reproduces the column: the unrounded one gives 6 to 19 % more tokens, the rounded
    one 57 to 122 % more.
    Source: Hoffmann et al. 2022, Eqs 4 and 10, Table A3.
    """
    n = HOFFMANN_TABLE_A3_3.column("n")
    columns = (HOFFMANN_TABLE_A3_3.column("d"), *(_tokens(law, n) for law in _CONSTANTS))
    return tuple(ThirdApproach(*(float(x) for x in row)) for row in zip(n, *columns, strict=True))


def hoffmann_printed() -> tuple[Printed, ...]:
    """Return Hoffmann's printed budgets and quotations, each beside what his tables give.

    Every row's budget beside 6 n d of that row, and the text's numbers beside Table 3.
    Source: Hoffmann et al. 2022, Tables 3 and A3, section 3.4.
    """
    rows = [
        Printed(
            f"budget of {row.n / 1e9:g}B parameters",
            table.where.partition(", ")[2],
            _PRINTED_C.get((table.approach, row.n), f"{row.c:.2e}"),
            6.0 * row.n * row.d,
            "6 N D of the same row",
            _rounding(row),
            "FLOPs",
        )
        for table in HOFFMANN_TABLES
        for row in table.rows
    ]
    large = {row.n: row for row in HOFFMANN_TABLE_3.rows}
    return (
        *rows,
        *(
            Printed(what, "text", text, value, "Table 3", unit=unit)
            for what, text, value, unit in (
                ("budget of 175B parameters", "4.41e24", large[175e9].c, "FLOPs"),
                ("tokens of 175B parameters", "4.2e12", large[175e9].d, "tokens"),
                ("tokens of 280B parameters", "6.8e12", large[280e9].d, "tokens"),
            )
        ),
    )


def _rounding(row: OptimalModel) -> float:
    """What half the last printed digit of both is: of whole billions (0.4, 1), tenths of a unit."""
    unit_n = 1e8 if row.n < 1e9 else 1e9 if row.n < 1e12 else 1e12
    unit_d = 1e8 if row.d < 1e12 else 1e11
    return 0.5 * unit_n / row.n + 0.5 * unit_d / row.d


_CONSTANTS = (HOFFMANN_2022, HOFFMANN_2022_ROUNDED)


def _tokens(published: PublishedLaw, n: Array) -> Array:
    law = published.law
    assert isinstance(law, Chinchilla)
    frontier = ChinchillaFrontier(law)
    a, b = frontier.exponents["n"], frontier.exponents["d"]
    # n = G (c/6)^a and d = (c/6)^b / G, with the budget taken out.
    return np.asarray((n / frontier.G) ** (b / a) / frontier.G)
