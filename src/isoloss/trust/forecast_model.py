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
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isoloss.errors import InputError
from isoloss.fitting.design import Design
from isoloss.fitting.intervals import robust_scale
from isoloss.fitting.parametric import Fit
from isoloss.laws.forms import Array, Law
from isoloss.trust.drift import BrownianPath
from isoloss.trust.posterior_grid import (
    MOST_EXPONENTS,
    NOISES,
    SCALES,
    ExponentPrior,
    draw,
    search,
)

_NOISE_FREEDOM = 4.0
_TOP_SHARE = 0.2
_REFINEMENTS = 4
_ROBUST = 2.0
_OFF, _FAR = 0.7, 5.0
_MOST_RUNS = 300


@dataclass(frozen=True)
class ForecastModel:
    """What is assumed of a law beyond its runs.

    exponent, exponent_spread: median of each exponent of a law with an irreducible loss, and the
    scale of its logarithm. drift: how far, in log loss, a law goes astray over one e-fold of
    n * d; it grows as the square root. ratio: the same for d / n, as a share of the variance.
    The default's four numbers have a wider prior and more drift than those that score best on all
    tables of `benchmarks/extrapolation`, for exponents farther from theirs; what it quotes is the
    score of numbers chosen without the experiment they forecast.
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
        """Say whether the model holds for this fit.

        It holds for a plain sum of one variable or of (n, d), with at most two exponents to find,
        fitted without asymmetry. Under an outer power the misfit is not linear in the terms: for
        small powers a prediction that is far too low would seem hardly wrong. Of other variables
        it is not known along which the law drifts, and an edge of the runs is not their middle.
        """
        return (
            fit.form.outer is None
            and 1 <= len(fit.design.exponents) <= MOST_EXPONENTS
            and len(fit.design.scales) >= 1
            and (len(fit.form.variables) == 1 or fit.form.variables == ("n", "d"))
            and fit.asymmetry == 1.0
        )


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
            f"the forecast model handles sums of one variable or of (n, d) with 1 to "
            f"{MOST_EXPONENTS} exponents and a scale to find, fitted without asymmetry, and this "
            f"{fit.form.__name__} is none: use forecast='plain'"
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

    fit: of a law that the model covers. least_noise: below which a run's noise is
    not taken to lie, such as the spread between seeds. Of more than 300 runs, one is drawn from
    each of 300 parts of them by compute: drift and a run's noise drown what the rest could add.
    Raises InputError for another law.
    """
    method_of(model, fit)
    random = np.random.default_rng([seed, 2])
    rows = _some(fit.design, np.random.default_rng([seed, 4]))
    design = fit.design.take(rows)
    paths = _paths(design)
    basis = _basis(model, paths, design.logs)
    prior = ExponentPrior(model.exponent, model.exponent_spread)
    given = fit.weights[fit.weights > 0][rows]
    given = given / given.mean()
    weights = given * _trust(_residuals(design, fit.coordinates[None])[0])
    fitted = fit.coordinates[len(design.scales) :]
    grid = search(prior, design, basis, weights, 1, fitted)
    chosen, coordinates = draw(grid, 200, random)
    noise, drift = SCALES[grid.scale[chosen]].T
    residuals = _residuals(design, coordinates)
    steps = _steps(basis, weights, residuals, noise, drift, random)
    left = np.median(residuals + steps @ basis.T, axis=0)
    weights = given * _trust(left, float(np.median(noise)))

    grid = search(prior, design, basis, weights, _REFINEMENTS, fitted)
    chosen, coordinates = draw(grid, draws, random)
    noise, drift = SCALES[grid.scale[chosen]].T
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
    """The axes of the drift: log x, or of (n, d) log compute and log tokens per parameter."""
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


def _some(design: Design, random: np.random.Generator) -> NDArray[np.intp]:
    """All runs, or of very many one in each part by rising compute, the dearest included."""
    count = len(design.log_loss)
    if count <= _MOST_RUNS:
        return np.arange(count)
    rising = np.argsort(_axes(design.logs)[0], kind="stable")
    edges = np.linspace(0, count, _MOST_RUNS + 1).astype(np.intp)
    picked = random.integers(edges[:-1], edges[1:])
    picked[-1] = count - 1
    return np.sort(rising[picked])


# ---- what the runs leave over -------------------------------------------------------------------


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
    """Weights (m,) of the runs: one within two deviations, falling beyond them as Huber's do.

    A run off by half its loss, far beyond the others, weighs nothing: the residual is linear in
    the terms for small errors only.
    """
    if scale is None:
        scale = robust_scale(residuals)
    limit = _ROBUST * max(scale, float(NOISES[0]))
    size = np.abs(residuals)
    weights: Array = limit / np.maximum(size, limit)
    return np.where((size > _OFF) & (size > _FAR * limit), 0.0, weights)
