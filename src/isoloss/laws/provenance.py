"""What a reader must know to use a law from a paper: its source, units, conventions and range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

from isoloss.errors import InputError
from isoloss.laws.downstream import DownstreamError
from isoloss.laws.experts import RoutedExperts
from isoloss.laws.forms import Array, Coefficient, Law
from isoloss.laws.joint import Farseer
from isoloss.laws.relations import CriticalBatch, PowerRelation

if TYPE_CHECKING:
    from isoloss.counting import CConvention, NConvention

Range = tuple[float, float]


@dataclass(frozen=True)
class PublishedLaw:
    """A law from a paper with what a reader must know to use it; usable wherever a law is.

    law: the law itself; calling the PublishedLaw calls it, and its coefficients read through.
    where: table and equation. variables, units: what it is called with, in that order.
    n_convention, c_convention: how the paper counted parameters and compute.
    n_range, d_range, c_range: smallest and largest parameters, tokens and FLOPs measured, None
    where our reading of the paper found none. note: what else to know.
    """

    law: Law | CriticalBatch | PowerRelation | DownstreamError | RoutedExperts | Farseer
    name: str
    citation: str
    where: str
    variables: tuple[str, ...]
    units: tuple[str, ...]
    n_convention: NConvention
    c_convention: CConvention
    gives: str = "loss, nats per token"
    n_range: Range | None = None
    d_range: Range | None = None
    c_range: Range | None = None
    note: str = ""

    def __call__(self, *variables: ArrayLike) -> Array:
        """Return the law's value at `variables`, in the paper's units (see `units`)."""
        if len(variables) != len(self.variables):
            wanted = ", ".join(
                f"{v} in {u}" for v, u in zip(self.variables, self.units, strict=True)
            )
            raise InputError(f"{self.name} is called with ({wanted})")
        return self.law(*variables)

    def coefficients(self) -> dict[str, Coefficient]:
        """Return the coefficients by the names the paper gives them."""
        return self.law.coefficients()

    def __getattr__(self, name: str) -> Coefficient:
        # Only names that are not fields come here; `law` itself is missing while unpickling.
        if name != "law" and not name.startswith("_"):
            coefficients = self.law.coefficients()
            if name in coefficients:
                return coefficients[name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
