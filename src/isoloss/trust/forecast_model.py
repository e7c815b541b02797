"""The forecast model: what a new run's loss may be, the misfit of the law beyond the runs included.

    log loss_i = log law(x_i) + drift * (path(u_i) + sqrt(ratio) * path'(v_i)) + sigma * noise_i

u is the log of the product of the law's variables (compute, where they are n and d) and v the log
of their ratio; the paths are Brownian and pinned where the largest runs lie (`drift`). So runs far
below the largest say less about the law there, runs of one scale share an error, and a forecast is
the more uncertain the farther it reaches. The exponents of a law with an irreducible loss have a
weak prior, a Student's t in their logarithm: small runs alone hardly fix them, and then the plain
fit takes too much of the loss for irreducible and forecasts too high.

For given exponents and sigma everything else is linear and Gaussian, so the posterior is computed,
not sampled: exponents and sigma lie on a grid that is refined where the weight is, the path and the
weights of the terms are integrated out exactly, and draws are taken from that.

Source: Kennedy & O'Hagan 2001 (a discrepancy beside the model's error); the projection is that of
`fitting.projection`; the rest is ours, measured in `benchmarks/extrapolation`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isoloss.errors import InputError
from isoloss.fitting.design import Design
from isoloss.fitting.parametric import Fit
from isoloss.laws.forms import Array, Law
from isoloss.trust.drift import BrownianPath

_PRIOR_FREEDOM = 4.0
_NOISE_FREEDOM = 4.0
_WEIGHT_SPREAD = 2.0  # of the terms' weights, where the loss at the centre is 1
_NOISES = np.exp(np.linspace(np.log(3e-4), np.log(8e-2), 14))
_DRIFTS = np.exp(np.linspace(-1.0, 1.0, 6))  # as multiples of the model's own
_DRIFT_SPREAD = 0.5
_SCALES = np.array(list(product(_NOISES, _DRIFTS)))
_TOP_SHARE = 0.2
_MOST_EXPONENTS = 2
_SIDES = {0: 1, 1: 128, 2: 28}
_WIDEST = (0.02, 3.0)
_REFINEMENTS, _WHOLE = 4, 0.5
_LEAST_WEIGHT = 12.0  # in log units below the heaviest cell
_ROBUST = 2.0
_CELL_NUMBERS = 4_000_000
_TRIES = 12
_LARGEST_LOG = 100.0


@dataclass(frozen=True)
class ForecastModel:
    """What is assumed of a law beyond its runs.

    exponent, exponent_spread: median of each exponent of a law with an irreducible loss, and the
    scale of its logarithm. drift: how far, in log loss, a law goes astray over one e-fold of
    n * d; it grows as the square root. ratio: the same for d / n, as a share of the variance.
    The default's four numbers are those that `benchmarks/extrapolation` chose on all its tables;
    its score there is that of numbers chosen without the experiment they forecast.
    """

    exponent: float = 0.30
    exponent_spread: float = 0.25
    drift: float = 0.0075
    ratio: float = 1.0

    def __post_init__(self) -> None:
        for name in ("exponent", "exponent_spread", "drift"):
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise InputError(f"ForecastModel: {name} must be positive")
        if not (np.isfinite(self.ratio) and self.ratio >= 0):
            raise InputError("ForecastModel: ratio must not be negative")

    def covers(self, fit: Fit) -> bool:
        """Say whether the model can be computed for this fit: at most two exponents to find."""
        return len(fit.design.exponents) <= _MOST_EXPONENTS


Method = ForecastModel | Literal["plain"]


def method_of(forecast: Method | None, fit: Fit) -> Method:
    """Return how new runs of this fit are forecast: as asked, or by default by the forecast model.

    forecast: None for the default model where it covers the law, "plain" elsewhere.
    Raises InputError if it is none of these, or a model that does not cover the law.
    """
    if forecast is None:
        return ForecastModel() if ForecastModel().covers(fit) else "plain"
    if forecast == "plain":
        return "plain"
    if not isinstance(forecast, ForecastModel):
        raise InputError(f'forecast is a ForecastModel or "plain", not {forecast!r}')
    if not forecast.covers(fit):
        raise InputError(
            f"the forecast model handles laws of up to {_MOST_EXPONENTS} exponents, and "
            f"{fit.form.__name__} has {len(fit.design.exponents)}: use forecast='plain'"
        )
    return forecast


def describe(method: Method) -> str:
    """Return the name of a method for results and pages."""
    return "plain" if method == "plain" else "forecast model"


@dataclass(frozen=True, eq=False)
class Posterior:
    """Draws (k) of everything unknown in the forecast model, given the runs.

    coordinates: of the law, (k, q). noise: sigma, (k,). drift: as a multiple of the model's, (k,).
    steps: of the paths, (k, r), the drift in them.
    """

    model: ForecastModel
    design: Design
    coordinates: Array
    noise: Array
    drift: Array
    steps: Array
    paths: tuple[BrownianPath, ...]
    seed: int

    @property
    def law(self) -> Law:
        """The law without its drift, coefficients (k,)."""
        return self.design.law(self.coordinates)

    def losses(self, *variables: ArrayLike) -> Array:
        """Return losses of new runs at m points of the variables: (k, m).

        In one draw the paths' error and the noise are common to all points, so the interval at a
        point does not depend on the others; beyond the runs a path goes one way.
        """
        logs = tuple(np.log(np.asarray(v, dtype=np.float64)) for v in variables)
        random = np.random.default_rng([self.seed, 3])
        losses = self.law.column()(*variables)
        count = len(losses)
        error = self.steps @ _basis(self.model, self.paths, logs).T
        # An experiment that drifts more than most does so everywhere: one heavy-tailed factor.
        tail = np.sqrt(_NOISE_FREEDOM / random.chisquare(_NOISE_FREEDOM, size=(count, 1)))
        tail *= self.drift[:, None]
        for scale, path, place in zip(_scales(self.model), self.paths, _axes(logs), strict=False):
            error += scale * tail * (random.standard_normal((count, 2)) @ path.reach(place).T)
        noise = self.noise * random.standard_t(_NOISE_FREEDOM, size=count)
        drawn: Array = losses * np.exp(error + noise[:, None])
        return drawn


def posterior(
    model: ForecastModel, fit: Fit, *, draws: int, seed: int, least_noise: float = 0.0
) -> Posterior:
    """Compute the posterior of the forecast model at the runs of a fit, and draw from it.

    fit: of a law with at most two exponents to find. least_noise: below which a run's noise is
    not taken to lie, such as the spread between seeds.
    Raises InputError for a law with more exponents.
    """
    design = fit.design
    method_of(model, fit)
    random = np.random.default_rng([seed, 2])
    paths = _paths(design)
    basis = _basis(model, paths, design.logs)
    given = fit.weights[fit.weights > 0]
    given = given / given.mean()
    weights = given * _trust(_residuals(design, fit.coordinates[None])[0])
    grid = _searched(model, design, basis, weights, 1)
    chosen, coordinates = _drawn(grid, 200, random)
    noise, drift = _SCALES[grid.scale[chosen]].T
    residuals = _residuals(design, coordinates)
    steps = _steps(basis, weights, residuals, noise, drift, random)
    left = np.median(residuals + steps @ basis.T, axis=0)
    weights = given * _trust(left, float(np.median(noise)))

    grid = _searched(model, design, basis, weights, _REFINEMENTS)
    chosen, coordinates = _drawn(grid, draws, random)
    noise, drift = _SCALES[grid.scale[chosen]].T
    steps = _steps(basis, weights, _residuals(design, coordinates), noise, drift, random)
    return Posterior(
        model=model,
        design=design,
        coordinates=coordinates,
        noise=np.maximum(noise, least_noise),
        drift=drift,
        steps=steps,
        paths=paths,
        seed=seed,
    )


# ---- the paths ---------------------------------------------------------------------------------


def _axes(logs: tuple[Array, ...]) -> tuple[Array, ...]:
    """The axes of the drift at logs of the variables: their sum and, of two or more, a ratio."""
    if len(logs) == 1:
        return (logs[0],)
    return logs[0] + logs[1], logs[1] - logs[0]


def _scales(model: ForecastModel) -> tuple[float, float]:
    return model.drift, model.drift * float(np.sqrt(model.ratio))


def _paths(design: Design) -> tuple[BrownianPath, ...]:
    """Paths through the runs, pinned at the middle of the top fifth in the first axis."""
    axes = _axes(design.logs)
    count = max(3, int(_TOP_SHARE * len(axes[0])))
    top = np.argsort(axes[0])[-count:]
    return tuple(BrownianPath.through(axis, float(axis[top].mean())) for axis in axes)


def _basis(model: ForecastModel, paths: tuple[BrownianPath, ...], logs: tuple[Array, ...]) -> Array:
    """The drift in log loss as coefficients of independent standard normals: (m, r)."""
    parts = zip(_scales(model), paths, _axes(logs), strict=False)
    return np.concatenate([scale * path.basis(axis) for scale, path, axis in parts], axis=1)


# ---- the posterior of exponents and noise, on a grid --------------------------------------------


@dataclass(frozen=True, eq=False)
class _Grid:
    """Cells that carry weight: exponents (k, p), weights' mean (k, j) and precision (k, j, j).

    share: of the posterior. scale: index into the scales of noise and drift.
    """

    theta: Array
    scale: NDArray[np.intp]
    mean: Array
    precision: Array
    share: Array


def _searched(
    model: ForecastModel, design: Design, basis: Array, weights: Array, refinements: int
) -> _Grid:
    """The posterior on a grid over exponents and scales, narrowed until it resolves the weight."""
    count, side = len(design.exponents), _SIDES[len(design.exponents)]
    edges = [_whole_range(design, i) for i in range(count)]
    scales = np.arange(len(_SCALES))
    for _ in range(refinements + 1):
        axes = [np.linspace(*ends, side) for ends in edges]
        theta = np.array(list(product(*axes))).reshape(-1, count)
        for i in range(count):
            if _logarithmic(design, i):
                theta[:, i] = np.exp(theta[:, i])
        cells = _cells(model, design, theta, basis, weights, _SCALES[scales])
        found = cells[0] > cells[0].max() - _LEAST_WEIGHT
        grid = _heavy(theta, scales, found, *cells)
        scales = scales[found.any(axis=1)]
        shape = (side,) * count
        inside = [
            found.any(axis=0).reshape(shape).any(axis=_others(i, count)) for i in range(count)
        ]
        narrower = [_around(axis, kept) for axis, kept in zip(axes, inside, strict=True)]
        if all(
            new[1] - new[0] > _WHOLE * (old[1] - old[0])
            for new, old in zip(narrower, edges, strict=True)
        ):
            break
        edges = narrower
    return grid


def _around(axis: Array, kept: NDArray[np.bool_]) -> tuple[float, float]:
    """The part of an axis from one place before the first kept to one after the last."""
    at = np.flatnonzero(kept)
    return float(axis[max(0, at[0] - 1)]), float(axis[min(len(axis) - 1, at[-1] + 1)])


def _others(axis: int, count: int) -> tuple[int, ...]:
    return tuple(i for i in range(count) if i != axis)


def _logarithmic(design: Design, index: int) -> bool:
    """Whether an exponent is searched in its logarithm; a place on an axis is one already."""
    return design.exponents[index] not in design.places


def _whole_range(design: Design, index: int) -> tuple[float, float]:
    low, high = (float(bound[len(design.scales) + index]) for bound in design.bounds)
    if not _logarithmic(design, index):
        return low, high
    return float(np.log(max(low, _WIDEST[0]))), float(np.log(min(high, _WIDEST[1])))


def _heavy(
    theta: Array,
    scales: NDArray[np.intp],
    found: NDArray[np.bool_],
    evidence: Array,
    mean: Array,
    precision: Array,
) -> _Grid:
    """The cells found heavy (s, k); evidence (s, k), mean (s, k, j), and so on."""
    scale, cell = np.nonzero(found)
    share = np.exp(evidence[found] - evidence.max())
    return _Grid(theta[cell], scales[scale], mean[found], precision[found], share / share.sum())


def _cells(
    model: ForecastModel, design: Design, theta: Array, basis: Array, weights: Array, scales: Array
) -> tuple[Array, Array, Array]:
    """Log evidence (s, k) with the prior, and mean and precision of the terms' weights."""
    rows = max(1, _CELL_NUMBERS // ((len(design.scales) + 1) * len(weights)))
    noise, drift = (scales**2).T
    variance, turn = np.linalg.eigh((basis * weights[:, None]).T @ basis)
    variance, basis = np.maximum(variance, 0.0), basis @ turn
    grams = []
    for first in range(0, len(theta), rows):
        linear = _linear(design, theta[first : first + rows])
        weighted = linear * weights
        along = weighted @ basis
        pairs = (along[:, :, None, :] * along[:, None, :, :]).reshape(-1, len(variance))
        shrunk = pairs @ (drift / (noise + drift * variance[:, None]))
        whole = weighted @ linear.transpose(0, 2, 1)
        grams.append(np.moveaxis(whole[..., None] - shrunk.reshape(*whole.shape, -1), -1, 0))
    gram = np.concatenate(grams, axis=1) / noise[:, None, None, None]
    precision = gram[..., 1:, 1:] + np.eye(gram.shape[-1] - 1) / _WEIGHT_SPREAD**2
    moment = gram[..., 1:, 0]
    mean = np.asarray(np.linalg.solve(precision, moment[..., None])[..., 0], dtype=np.float64)
    left = gram[..., 0, 0] - (mean * moment).sum(axis=-1)
    volume = len(weights) * np.log(noise)
    volume = volume + np.log1p(variance * (drift / noise)[:, None]).sum(axis=1)
    evidence = -0.5 * (left + volume[:, None] + np.linalg.slogdet(precision)[1])
    strayed = np.log(scales[:, 1]) / _DRIFT_SPREAD
    evidence = evidence - 0.5 * strayed[:, None] ** 2
    found: Array = evidence + _log_prior(model, design, theta)
    return found, mean, precision


def _linear(design: Design, theta: Array) -> Array:
    """What the terms must add up to, and each free term, over the loss: (k, 1 + j, m).

    With weights w the first less w times the others is, to first order, log observed - log
    predicted.
    """
    terms, _ = design.logarithms(theta)
    outer = design.outer(theta)
    observed = (design.log_loss - design.mean_log_loss) / outer
    shape = (len(theta), len(design.log_loss))
    target = np.broadcast_to(outer, shape)
    free = []
    for name, term in zip(design.form.scales, terms, strict=True):
        part = outer * np.exp(np.minimum(term - observed, _LARGEST_LOG))
        if name in design.fixed:
            target = target - part
        else:
            free.append(np.broadcast_to(part, shape))
    return np.stack([target, *free], axis=1)


def _log_prior(model: ForecastModel, design: Design, theta: Array) -> Array:
    """Of the exponents of a law with an irreducible loss; flat in the logarithm otherwise: (k,)."""
    total = np.zeros(len(theta))
    if "E" not in design.form.scales:
        return total
    for i in range(theta.shape[1]):
        if _logarithmic(design, i):
            z = np.log(theta[:, i] / model.exponent) / model.exponent_spread
            total -= 0.5 * (_PRIOR_FREEDOM + 1) * np.log1p(z**2 / _PRIOR_FREEDOM)
    return total


# ---- drawing from it ----------------------------------------------------------------------------


def _drawn(grid: _Grid, draws: int, random: np.random.Generator) -> tuple[NDArray[np.intp], Array]:
    """Cells (k,) and coordinates (k, q) drawn from the posterior, no weight negative."""
    factor = np.linalg.inv(np.linalg.cholesky(grid.precision)).transpose(0, 2, 1)
    cells: list[NDArray[np.intp]] = []
    weights: list[Array] = []
    for _ in range(_TRIES):
        cell = random.choice(len(grid.share), size=draws, p=grid.share)
        normal = random.standard_normal((draws, grid.mean.shape[1], 1))
        weight = grid.mean[cell] + (factor[cell] @ normal)[:, :, 0]
        allowed = (weight >= 0).all(axis=1)
        cells.append(cell[allowed])
        weights.append(weight[allowed])
        if sum(len(part) for part in cells) >= draws:
            break
    else:  # the runs all but exclude a positive weight: put it at zero
        cells.append(cell)
        weights.append(np.maximum(weight, 0.0))
    chosen, kept = np.concatenate(cells)[:draws], np.concatenate(weights)[:draws]
    return chosen, np.concatenate([kept, grid.theta[chosen]], axis=1)


def _residuals(design: Design, coordinates: Array) -> Array:
    """Log predicted - log observed by each draw of the law alone: (k, m)."""
    residuals, _ = replace(design, residual="log").evaluate(coordinates, design.log_loss[None])
    return residuals


def _steps(
    basis: Array,
    weights: Array,
    residuals: Array,
    noise: Array,
    drift: Array,
    random: np.random.Generator,
) -> Array:
    """Draws (k, r) of the paths' steps, given residuals (k, m) of the law and scales (k,)."""
    variance, turn = np.linalg.eigh((basis * weights[:, None]).T @ basis)
    noise, drift = noise[:, None], drift[:, None]
    total = noise**2 + drift**2 * np.maximum(variance, 0.0)
    mean = -(residuals * weights) @ basis @ turn * drift / total
    spread = noise / np.sqrt(total)
    drawn: Array = drift * (mean + spread * random.standard_normal(mean.shape)) @ turn.T
    return drawn


def _trust(residuals: Array, scale: float | None = None) -> Array:
    """Weights (m,) of the runs: one within two deviations, falling beyond them as Huber's do."""
    if scale is None:
        scale = 1.4826 * float(np.median(np.abs(residuals)))
    limit = _ROBUST * max(scale, float(_NOISES[0]))
    weights: Array = limit / np.maximum(np.abs(residuals), limit)
    return weights
