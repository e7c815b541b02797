"""One law fitted to several groups of runs that share some coefficients, the others each its own.

Two data sets may differ in E and B while size acts alike in both; sharing what is alike makes the
rest sharper, and a law of one more coefficient per group instead of five. All groups lie in the
same coordinates (`Design.take`), so the joint problem is the groups' problems side by side with
some columns laid upon one another, and the solver needs to know nothing more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isoloss.errors import FitError, InputError, Status, UnidentifiedError
from isoloss.fitting import diagnosis
from isoloss.fitting.design import Design, Residual
from isoloss.fitting.parametric import check_cost, checked_fixed, checked_weights, single
from isoloss.fitting.polish import Solutions, polish
from isoloss.fitting.projection import cells
from isoloss.fitting.variables import Given, variables_of
from isoloss.laws.forms import Array, Law
from isoloss.runs import Runs

_STARTS = 24
_SHORT, _ROUGH, _KEPT = 50, 1e-7, 4


@dataclass(frozen=True, eq=False)
class SharedFit:
    """A law per group of runs, some coefficients common to all.

    laws: the law of each group, by its label. shared: the common coefficients. objective: summed
    over all runs. residuals: (m,) log predicted - log observed, in the order of the runs.
    status: codes whose value is advice; empty if there is nothing to say.
    designs, coordinates: the problem of each group as the solver holds it, and its solution.
    """

    form: type[Law]
    shared: tuple[str, ...]
    laws: Mapping[str, Law]
    objective: float
    residuals: Array
    status: tuple[Status, ...]
    runs: Runs = field(repr=False)
    designs: tuple[Design, ...] = field(repr=False)
    coordinates: tuple[Array, ...] = field(repr=False)

    def check(self) -> SharedFit:
        """Return this fit if it can be used.

        Raises FitError if the solver did not settle, UnidentifiedError if in some group an exponent
        sits at the end of its range or a term that depends on the runs vanished; both carry this
        fit in `.partial`.
        """
        if Status.NOT_CONVERGED in self.status:
            raise FitError(f"{self.form.__name__}: {Status.NOT_CONVERGED.value}", partial=self)
        if Status.AT_BOUND in self.status:
            raise UnidentifiedError(f"{self.form.__name__}: {Status.AT_BOUND.value}", partial=self)
        for label, design, at in zip(self.laws, self.designs, self.coordinates, strict=True):
            if diagnosis.effect_vanished(design, at):
                raise UnidentifiedError(
                    f"{self.form.__name__}, group {label!r}: {Status.VANISHED_TERM.value}",
                    partial=self,
                )
        return self


def fit_shared(
    form: type[Law],
    runs: Runs,
    shared: Sequence[str],
    *,
    x: str | None = None,
    residual: Residual = "log",
    delta: float | None = 1e-3,
    fixed: Mapping[str, float] | None = None,
    weights: ArrayLike | None = None,
    asymmetry: float = 1.0,
    given: Given | None = None,
) -> SharedFit:
    """Fit a law to each group of runs, with some of its coefficients common to all groups.

    minimise sum over groups g and runs i of w_i h(r_i), with the coefficients in `shared` the same
    in every group. shared: such as ("alpha", "beta"). runs: m runs; `runs.group` says which is
    which. The other arguments are those of `fit`.
    Returns a SharedFit. Raises InputError for a wrong call, or fewer than two groups;
    UnidentifiedError, with the fit in `.partial`, if the runs cannot fix all the coefficients.
    The starts are those of `fit`, the best on a grid of the shared exponents summed over groups.
    """
    held = checked_fixed(form, fixed)
    common = _checked_shared(form, shared, held)
    check_cost(residual, delta, asymmetry)
    variables = variables_of(form, runs, x, given)
    labels, numbers = np.unique(runs.group, return_inverse=True)
    if len(labels) < 2:
        raise InputError(f"all runs are in one group, {str(labels[0])!r}; label them in `group`")
    each = checked_weights(weights, len(runs))
    used = np.flatnonzero(each > 0)
    seen = [variable[used] for variable in variables]
    whole = Design.over(form, seen, runs.loss[used], residual, held, asymmetry)
    rows = tuple(np.flatnonzero(numbers[used] == g) for g in range(len(labels)))
    if any(not len(some) for some in rows):
        raise InputError("a group has only runs of weight zero; leave its runs out")
    joint = _Joint(whole, rows, common)
    solution = _solve(joint, each[used], delta)
    parts = joint.parts(solution.coordinates)
    laws = {str(label): single(whole.law(part)) for label, part in zip(labels, parts, strict=True)}
    predicted = np.empty(len(runs))
    for g, law in enumerate(laws.values()):
        of_group = numbers == g
        predicted[of_group] = law(*(variable[of_group] for variable in variables))
    result = SharedFit(
        form=form,
        shared=common,
        laws=laws,
        objective=float(solution.objectives[0]),
        residuals=np.log(predicted) - np.log(runs.loss),
        status=_doubts(joint, solution),
        runs=runs,
        designs=joint.designs,
        coordinates=tuple(part[0] for part in parts),
    )
    if not _identified(joint, solution.coordinates):
        raise UnidentifiedError(
            f"{form.__name__}: {joint.size} coefficients of {len(labels)} groups cannot be told "
            f"apart by {len(used)} runs; share more of them, or add runs to the smallest group",
            partial=result,
        )
    return result


@dataclass(frozen=True)
class _Joint:
    """The groups' problems side by side, with the face of a Design that `polish` looks at.

    Coordinates: the shared ones first, then those of each group. rows: of each group among all.
    """

    whole: Design
    rows: tuple[NDArray[np.intp], ...]
    shared: tuple[str, ...]

    @property
    def asymmetry(self) -> float:
        return self.whole.asymmetry

    @cached_property
    def places(self) -> NDArray[np.intp]:
        """Where each coordinate of each group's law stands in the joint vector, (groups, q)."""
        names = (*self.whole.scales, *self.whole.exponents)
        own = [name for name in names if name not in self.shared]
        common = [name for name in names if name in self.shared]
        table = [
            [
                common.index(name)
                if name in common
                else len(common) + g * len(own) + own.index(name)
                for name in names
            ]
            for g in range(len(self.rows))
        ]
        return np.array(table, dtype=np.intp)

    @property
    def size(self) -> int:
        return int(self.places.max()) + 1

    @cached_property
    def bounds(self) -> tuple[Array, Array]:
        low, high = np.empty(self.size), np.empty(self.size)
        for place in self.places:
            low[place], high[place] = self.whole.bounds
        return low, high

    @cached_property
    def designs(self) -> tuple[Design, ...]:
        return tuple(self.whole.take(some) for some in self.rows)

    def parts(self, coordinates: Array) -> list[Array]:
        """The coordinates (k, q) of each group's law."""
        return [coordinates[:, place] for place in self.places]

    def inside(self, coordinates: Array) -> NDArray[np.bool_]:
        """Which coordinates (q,) lie strictly inside their bounds."""
        low, high = self.bounds
        within: NDArray[np.bool_] = (coordinates > low) & (coordinates < high)
        return within

    def evaluate(self, coordinates: Array, log_loss: Array) -> tuple[Array, Array]:
        """As `Design.evaluate`, over all groups."""
        count, runs = len(coordinates), log_loss.shape[-1]
        residuals = np.empty((count, runs))
        jacobian = np.zeros((count, self.size, runs))
        for design, some, place in zip(self.designs, self.rows, self.places, strict=True):
            part, slopes = design.evaluate(coordinates[:, place], log_loss[:, some])
            residuals[:, some] = part
            jacobian[:, place[:, None], some] = slopes
        return residuals, jacobian


def _solve(joint: _Joint, weights: Array, delta: float | None) -> Solutions:
    """The lowest minimum, as one solution (k = 1)."""
    at = joint.whole.log_loss, weights, delta
    begun = _starts(joint, weights, delta)
    short = polish(joint, begun, *at, steps=_SHORT, tolerance=_ROUGH)
    best = np.argsort(short.objectives, kind="stable")[:_KEPT]
    ended = polish(joint, short.coordinates[best], *at)
    return ended.at(np.array([int(np.argmin(ended.objectives))]))


def _doubts(joint: _Joint, solution: Solutions) -> tuple[Status, ...]:
    groups = [
        (design, part[0], diagnosis.vanished(design, part[0]))
        for design, part in zip(joint.designs, joint.parts(solution.coordinates), strict=True)
    ]
    codes = (
        (Status.NOT_CONVERGED, not solution.converged[0]),
        (Status.VANISHED_TERM, any(gone for _, _, gone in groups)),
        (Status.AT_BOUND, any(diagnosis.at_bound(*group) for group in groups)),
        (Status.FEW_RUNS, len(joint.whole.log_loss) < joint.size + diagnosis.FEWEST_SPARE),
    )
    return tuple(code for code, doubted in codes if doubted)


def _identified(joint: _Joint, coordinates: Array) -> bool:
    """Whether the runs tell all coordinates apart, values within 1 % taken as one."""
    whole = replace(joint.whole, residual="log", logs=diagnosis.Levels.of(joint.whole.logs).snapped)
    _, jacobian = replace(joint, whole=whole).evaluate(coordinates, whole.log_loss[None])
    inside = joint.inside(coordinates[0])
    return diagnosis.rank(jacobian[0][inside]) == int(inside.sum())


def _starts(joint: _Joint, weights: Array, delta: float | None) -> Array:
    """Joint coordinates (k, q): the best cells of the shared exponents, the groups' own at each."""
    exponents = joint.whole.exponents
    solved = [
        cells(d, weights[some], delta) for d, some in zip(joint.designs, joint.rows, strict=True)
    ]
    shape = solved[0][2]
    own = tuple(axis for axis, name in enumerate(exponents) if name not in joint.shared)
    chosen, totals = [], np.zeros(1)
    last = range(-len(own), 0)
    for coordinates, objectives, _ in solved:
        # Of each cell of the shared exponents, the best over this group's own.
        index = np.moveaxis(np.arange(objectives.size).reshape(shape), own, tuple(last))
        index = index.reshape(-1, int(np.prod([shape[axis] for axis in own], dtype=int)))
        best = index[np.arange(len(index)), objectives[index].argmin(axis=1)]
        chosen.append(coordinates[best])
        totals = totals + objectives[best]
    order = np.argsort(totals, kind="stable")[:_STARTS]
    found = np.zeros((len(order), joint.size))
    for place, coordinates in zip(joint.places, chosen, strict=True):
        found[:, place] += coordinates[order]
    shares = np.bincount(joint.places.ravel(), minlength=joint.size)
    joined: Array = found / shares
    return joined


def _checked_shared(
    form: type[Law], shared: Sequence[str], held: Mapping[str, float]
) -> tuple[str, ...]:
    known = [*form.scales, *form.exponents]
    names = (shared,) if isinstance(shared, str) else tuple(shared)
    for name in names:
        if name not in known:
            raise InputError(
                f"{form.__name__} has no coefficient {name!r}; it has {', '.join(known)}"
            )
        if name in held:
            raise InputError(
                f"{name} is fixed, so it is the same in all groups; leave it out of shared"
            )
    if not names:
        raise InputError("shared is empty; name a coefficient, or fit each group on its own")
    return names
