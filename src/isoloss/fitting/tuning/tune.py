"""From a sweep of settings to the best setting, the loss there, and how both move with scale.

The lowest loss of a grid is biased twice: it is the least of several noisy numbers, and no arm
stands on the optimum. `tune` takes the vertex of a quadratic in the logarithms instead (`bowls`),
flags what was not tuned (`configurations`), and fits the laws of the settings (`trends`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isoloss.errors import InputError, Status, UnidentifiedError
from isoloss.fitting.intervals import check_draws, check_level, check_reach, check_seed
from isoloss.fitting.runs_inspection import Finding, codes
from isoloss.fitting.tuning.arms import Arms, cells, collect, swept
from isoloss.fitting.tuning.bowls import Optima, draw_optima, fit_common, gather, settle
from isoloss.fitting.tuning.configurations import Configuration, Located, describe
from isoloss.fitting.tuning.doubts import inspect_sweep, refuse_flat
from isoloss.fitting.tuning.rules import RuleCheck, check_rules
from isoloss.fitting.tuning.trends import Span, TuningLaw, separable, tuning_law
from isoloss.laws.forms import Array
from isoloss.runs import Runs

_ROUNDS = 6
_FEWEST_DRAWS = 100
_NONE: Span = (float("nan"), float("nan"), float("nan"))


@dataclass(frozen=True, eq=False)
class Tuning:
    """The optimum of every configuration of a sweep, and the laws through them.

    factors: the settings swept. level: of every interval here. configurations: by n and d.
    noise: relative sd of one run's loss. scatter: sd of ln curvature about its plane in ln n and
    ln d. lean: (low, mid, high) of gamma, how much steeper bowls are above the best rate.
    lr_law: the learning rate of n and d, batch_law: the batch of d; None where the optima do
    not fix it. rules: the published rules at the same models. status: codes whose value is advice.
    notes: what was left out. findings: what is wrong with the runs, each a code and where it was
    seen; those that put the optima in doubt are in `status` too.
    """

    runs: Runs
    factors: tuple[str, ...]
    level: float
    configurations: tuple[Configuration, ...]
    noise: float
    scatter: float
    lean: Span
    lr_law: TuningLaw | None
    batch_law: TuningLaw | None
    rules: tuple[RuleCheck, ...]
    status: tuple[Status, ...]
    notes: tuple[str, ...]
    findings: tuple[Finding, ...] = ()

    @property
    def usable(self) -> tuple[Configuration, ...]:
        """The configurations whose optimum is known."""
        return tuple(one for one in self.configurations if one.usable)

    @property
    def undertuned(self) -> NDArray[np.bool_]:
        """(m,) whether each run belongs to a configuration with the code `undertuned`."""
        flags = np.zeros(len(self.runs), dtype=bool)
        for one in self.configurations:
            flags[one.rows] = Status.UNDERTUNED in one.status
        return flags

    def check(self) -> Tuning:
        """Return this if any optimum is known, else raise UnidentifiedError with what to run."""
        if self.usable:
            return self
        mends = "; ".join(dict.fromkeys(one.mend for one in self.configurations[:3] if one.mend))
        raise UnidentifiedError(
            f"no optimum: none of {len(self.configurations)} configurations is tuned; "
            f"{mends or 'run three or more learning rates at one n and d'}",
            partial=self,
        )

    def best_runs(self, *, undertuned: bool = True) -> Runs:
        """Return one row per n and d, with the loss at the optimum and its sd, ready for `fit`.

        undertuned: False leaves out configurations with that code; with True they stay wherever
        their optimum is known, and their `group` says "undertuned", that of others "tuned".
        Where a setting that is no factor makes several configurations of one n and d, the one of
        the lowest loss is taken. Raises UnidentifiedError if no row is left.
        """
        kept = [one for one in self.usable if undertuned or not one.status]
        places = np.zeros(len(self.runs), dtype=np.intp)
        for number, rows in enumerate(cells(self.runs, ("n", "d"))):
            places[rows] = number
        lowest: dict[int, Configuration] = {}
        for one in kept:
            place = int(places[one.best_row])
            if place not in lowest or one.loss < lowest[place].loss:
                lowest[place] = one
        kept = [one for one in kept if one in lowest.values()]
        if not kept:
            self.check()
            raise UnidentifiedError(
                "every optimum is at the edge of its grid: widen the grids, or keep them with "
                "undertuned=True",
                partial=self,
            )
        rows = np.array([one.best_row for one in kept])
        changes = {name: np.array([getattr(one, name)[1] for one in kept]) for name in self.factors}
        left = len(self.configurations) - len(kept)
        note = f"{len(kept)} losses at the optimum of a sweep; {left} configurations are left out"
        return self.runs[rows].replace(
            loss=np.array([one.loss for one in kept]),
            sd=np.array([one.sd for one in kept]),
            seed=None,
            steps=None,
            curves=None,
            run=[f"optimum of {name}" for name in self.runs.run[rows].tolist()],
            group=["undertuned" if one.status else "tuned" for one in kept],
            notes=(*self.runs.notes, *self.notes, note),
            **changes,
        )


def tune(
    runs: Runs,
    *,
    factors: str | Sequence[str] | None = None,
    level: float = 0.9,
    draws: int = 1000,
    seed: int = 0,
) -> Tuning:
    """Find the best learning rate of every configuration, the loss there, and their laws.

    ln loss = a + b z + kappa z^2 / 2, z = ln lr - mean; lr* at -b / kappa, ln loss* = a - b^2 / (2
    kappa), with z a vector where batch or weight decay were swept too.

    runs: final losses with `lr`; arms of one n and d, to within 1 %, are one configuration.
    factors: the settings to take as swept, of "lr", "batch", "weight_decay"; left out, lr and what
    half of the configurations vary. Another that varies splits its configuration.
    level: of the intervals. draws, seed: of the posterior behind them.
    Returns a Tuning. Arms more than a factor of 5 from the best are not used, outlying ones are
    down-weighted, and curvature is pooled across configurations. A configuration carries
    `Status.UNDERTUNED` if it was run at one value of a factor, its lowest loss is at the end of a
    grid, its arms vary the factors together, or its losses leave the optimum open by a factor of
    ten; its `reason` says which.
    Raises InputError for runs without a learning rate or a wrong call; UnidentifiedError if no loss
    changes with the settings.

    Source: the estimator is our own; quadratics in log learning rate and optima as laws of n and d
    as in Li et al. 2025 (Step Law) and Porian et al. 2024. Left out: the asymmetry of the bowl,
    which moves the vertex by little where the arms straddle it.
    """
    if not isinstance(runs, Runs):
        raise InputError(f"tune takes a table of Runs, such as read_runs(path), not {runs!r}")
    check_level(level)
    check_draws(draws, _FEWEST_DRAWS)
    check_seed(seed)
    check_reach(level, draws)
    names = swept(runs, factors)
    arms, notes = collect(runs, names)
    refuse_flat(arms)
    random = np.random.default_rng(seed)
    located = [g for g, one in enumerate(arms) if one.locates]
    places = [_place(runs, one) for one in arms]
    optima: Optima | None = None
    misfits: list[Array] = []
    locating = tuple(arms[g] for g in located)
    if located:
        optima, misfits = _solve(locating, [places[g] for g in located], draws, random)
    noise = float("nan") if optima is None else float(np.median(optima.noise))
    found: dict[int, Located] = {}
    if optima is not None:
        for k, g in enumerate(located):
            found[g] = Located(optima.at[:, k], optima.log_loss[:, k], optima.log_curvature[:, k])
    configurations = tuple(
        describe(one, names, place, level, found.get(g))
        for g, (one, place) in enumerate(zip(arms, places, strict=True))
    )
    laws, status = _laws(configurations, found, names, level, random)
    if any(one.status for one in configurations):
        status = (Status.UNDERTUNED, *status)
    seen = inspect_sweep(runs, locating, misfits, noise)
    return Tuning(
        runs=runs,
        factors=names,
        level=level,
        configurations=configurations,
        noise=noise,
        scatter=float("nan") if optima is None else float(np.median(optima.scatter)),
        lean=_NONE if optima is None else _span(optima.lean, level),
        lr_law=laws.get("lr"),
        batch_law=laws.get("batch"),
        rules=check_rules(
            runs, np.array([one.best_row for one in configurations]), _own(configurations, names)
        ),
        status=(*status, *codes(seen)),
        notes=notes,
        findings=seen,
    )


def _solve(
    arms: tuple[Arms, ...],
    places: list[tuple[float, float, float]],
    draws: int,
    random: np.random.Generator,
) -> tuple[Optima, list[Array]]:
    """Fit what the configurations share, down-weighting outliers, and draw every optimum.

    Returns the draws, and the misfits of the near arms as `settle` has them.
    """
    n, d = np.array([place[0] for place in places]), np.array([place[1] for place in places])
    weights = [np.ones(int(one.near.sum())) for one in arms]
    origin = np.array([one.x[one.near].mean(axis=0) for one in arms])
    bowls = gather(arms, n, d, weights, origin)
    mode, covariance = fit_common(bowls)
    for _ in range(_ROUNDS):
        before = (np.concatenate(weights), origin)
        weights, origin, misfits = settle(arms, bowls, mode)
        now = (np.concatenate(weights), origin)
        bowls = gather(arms, n, d, weights, origin)
        mode, covariance = fit_common(bowls, mode)
        if max(float(np.max(np.abs(a - b))) for a, b in zip(before, now, strict=True)) < 0.02:
            break
    return draw_optima(bowls, mode, covariance, draws, random), misfits


def _laws(
    configurations: tuple[Configuration, ...],
    found: dict[int, Located],
    factors: tuple[str, ...],
    level: float,
    random: np.random.Generator,
) -> tuple[dict[str, TuningLaw], tuple[Status, ...]]:
    """The laws of rate and batch through the usable optima, and what stood in their way.

    Optima at the edge of a grid stay in: leaving out those that drift off it would bend the law.
    """
    used = [g for g, one in enumerate(configurations) if one.usable]
    if not used:
        return {}, ()
    n = np.array([configurations[g].n for g in used])
    d = np.array([configurations[g].d for g in used])
    varied = separable({"n": np.log(n), "d": np.log(d)})
    both = float(np.ptp(np.log(n))) > 0.05 and float(np.ptp(np.log(d))) > 0.05
    status = (Status.NOT_SEPARATED,) if both and len(varied) < 2 else ()
    laws = {}
    for name, variables in (("lr", varied), ("batch", separable({"d": np.log(d)}))):
        if name in factors and variables:
            draws = np.column_stack([found[g].at[:, factors.index(name)] for g in used])
            law = tuning_law(name, draws, n, d, variables, level, random)
            if law is not None:
                laws[name] = law
    return laws, status


def _place(runs: Runs, arms: Arms) -> tuple[float, float, float]:
    """n, d and c of a configuration: those of its best arm, so that a row of the runs has them."""
    row = arms.rows[arms.best]
    return float(runs.n[row]), float(runs.d[row]), float(runs.c[row])


def _span(draws: Array, level: float) -> Span:
    tail = (1 - level) / 2
    low, mid, high = np.quantile(draws, [tail, 0.5, 1 - tail])
    return float(low), float(mid), float(high)


def _own(configurations: tuple[Configuration, ...], factors: tuple[str, ...]) -> dict[str, Array]:
    return {
        name: np.array([getattr(one, name)[1] if one.usable else np.nan for one in configurations])
        for name in factors
        if name != "weight_decay"
    }
