"""The published rules at the runs of a sweep, beside the optima the sweep itself found."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from isoloss.laws.forms import Array
from isoloss.laws.published_tuning import TUNING_RULES
from isoloss.laws.tuning_rules import TuningRule
from isoloss.runs import Runs


@dataclass(frozen=True, eq=False)
class RuleCheck:
    """A published rule at the configurations of a sweep.

    values: (G,) its learning rates, or batches in tokens; NaN where it gives none.
    inside: (G,) whether the configuration lies in the range the rule was measured in;
    share_inside: the share of them that do, from 0 to 1.
    low, high: the smallest and largest of the values. counted: how n and c were counted here.
    ratio: the median over the sweep's optima of its own setting divided by the rule's; NaN if the
    sweep has none. note: what keeps the two from being comparable, or "".
    """

    rule: TuningRule
    low: float
    high: float
    share_inside: float
    ratio: float
    counted: str
    note: str
    values: Array = field(repr=False)
    inside: NDArray[np.bool_] = field(repr=False)


def check_rules(runs: Runs, rows: NDArray[np.intp], own: dict[str, Array]) -> tuple[RuleCheck, ...]:
    """Evaluate every published rule at one row of the runs for each configuration.

    rows: (G,) one row each. own: by setting, the (G,) optima of the sweep, NaN where none.
    """
    return tuple(_check(rule, runs, rows, own) for rule in TUNING_RULES)


def _check(
    rule: TuningRule, runs: Runs, rows: NDArray[np.intp], own: dict[str, Array]
) -> RuleCheck:
    n, n_tag = _counted(rule, runs)
    given = {"n": n[rows], "d": runs.d[rows], "c": runs.c[rows]}
    values = rule.tokens(**given) if rule.gives == "batch" else rule(**given)
    inside = np.broadcast_to(rule.inside(**given), rows.shape)
    mine = own.get(rule.gives, np.full(rows.shape, np.nan))
    both = np.isfinite(mine) & np.isfinite(values)
    ratio = float(np.median(mine[both] / values[both])) if both.any() else float("nan")
    known = values[np.isfinite(values)]
    uses_n = "n" in rule.variables
    notes = []
    if uses_n and n_tag != rule.n_convention:
        notes.append(f"n here is {n_tag}; the rule's is {rule.n_convention}")
    if "c" in rule.variables:
        notes.append(f"c here is {runs.c_convention}; the rule has a count of its own")
    return RuleCheck(
        rule=rule,
        low=float(known.min()) if known.size else float("nan"),
        high=float(known.max()) if known.size else float("nan"),
        share_inside=float(inside.mean()),
        ratio=ratio,
        counted=n_tag if uses_n else runs.c_convention if "c" in rule.variables else "",
        note="; ".join(notes),
        values=values,
        inside=inside,
    )


def _counted(rule: TuningRule, runs: Runs) -> tuple[Array, str]:
    """n as the rule counts it where the runs know it, else as they count it."""
    if rule.n_convention in runs.counts:
        return runs.counts[rule.n_convention], rule.n_convention
    return runs.n, runs.n_convention
