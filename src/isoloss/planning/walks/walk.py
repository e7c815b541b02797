"""What an explanation is: walks of steps from one number to another, each quoted or computed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from isoloss.laws.printed import Printed
from isoloss.planning.estimate import Estimate
from isoloss.units import format_number

How = Literal["quoted", "computed"]


@dataclass(frozen=True)
class Step:
    """One number of a walk.

    label: what it is. changed: what differs from the step before. exponent: of the best size in
    compute, with an interval where the source gives one. how: "quoted", as the paper prints or
    released it, or "computed" here from the paper's constants. source: paper and place.
    n: the best size at the budget of the explanation, by the source's own power law or law, counted
    as it counts; None where it gives no coefficient.
    """

    label: str
    changed: str
    exponent: Estimate
    how: How
    source: str
    n: float | None = None


@dataclass(frozen=True)
class Walk:
    """Steps that belong together, in order. about: what they hold fixed."""

    name: str
    about: str
    steps: tuple[Step, ...]

    @property
    def moves(self) -> tuple[float, ...]:
        """By how much each step after the first moves the exponent."""
        middles = [step.exponent.mid for step in self.steps]
        return tuple(after - before for before, after in pairwise(middles))


@dataclass(frozen=True)
class Uncounted:
    """A law of all parameters, as it looks over Kaplan's sizes without the embeddings; computed.

    law: its name. counted: the exponent of all parameters, closed form; counted_frontier: through
    the best of 20 sizes at 100 budgets. formula: the exponent without embeddings through the
    formula at the 20 sizes; frontier: through the best of them at each budget. printed: what the
    paper prints for that. small, large: the formula's limits far below and far above `crossover`,
    the size of which embeddings are half of all parameters. local: the exponent at the least and at
    the greatest size. steepest: the highest between, which overshoots both limits, and its size.
    loss: the exponent of the loss without embeddings (Kaplan's is `kaplan_loss`), reducible: that
    of the loss above E, all counted.
    """

    law: str
    counted: float
    counted_frontier: float
    formula: float
    frontier: float
    small: float
    large: float
    local: tuple[float, float]
    steepest: tuple[float, float]
    crossover: float
    printed: float
    loss: float
    kaplan_loss: float
    reducible: float


@dataclass(frozen=True)
class Explanation:
    """Why the papers disagree: walks from Kaplan's exponent to Hoffmann's.

    flops: the budget at which the steps give sizes. walks: in the order to read them.
    uncounted: Pearce & Song's formula for two laws. inconsistent: by paper, the numbers it prints
    that do not follow from its others, beyond rounding. notes: what to take away.
    """

    flops: float
    walks: tuple[Walk, ...]
    uncounted: tuple[Uncounted, ...]
    inconsistent: tuple[tuple[str, tuple[Printed, ...]], ...]
    notes: tuple[str, ...]

    def rows(self) -> tuple[tuple[str, str, str, str], ...]:
        """Return the walks for a table of four columns: step, exponent, n at `flops`, how.

        A walk begins with a row of its name and empty cells.
        """
        rows: list[tuple[str, str, str, str]] = []
        for walk in self.walks:
            rows.append((walk.name, "", "", ""))
            rows += [
                (
                    f"  {step.label}",
                    _written(step),
                    "" if step.n is None else format_number(step.n),
                    step.how,
                )
                for step in walk.steps
            ]
        return tuple(rows)

    def printed_rows(self) -> tuple[tuple[str, str, str, str, str], ...]:
        """Return `inconsistent` for five columns: what, where, printed, what follows, its ratio.

        A paper begins with a row of its name and empty cells.
        """
        rows: list[tuple[str, str, str, str, str]] = []
        for paper, records in self.inconsistent:
            rows.append((paper, "", "", "", ""))
            rows += [
                (f"  {one.what}", one.where, one.text, f"{one.follows:.3g}", f"{one.ratio:.2f}")
                for one in records
            ]
        return tuple(rows)


def _written(step: Step) -> str:
    low, mid, high = step.exponent
    if low is not None and high is not None:
        return f"{mid:.3f} ({low:.3f} - {high:.3f})"
    return f"{mid:.3f}" if step.how == "computed" else f"{mid:.2f}"
