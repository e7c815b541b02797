"""How far a fit can be believed: the law again, fitted to thousands of resamples of the runs.

`bootstrap` returns Draws, a law with array coefficients; `interval` turns any function of a law
into a range that holds what the runs show, the uncertainty of the coefficients. A new run is
another matter, for an extrapolated law is wrong in its form too: `predict` passes the runs to the
forecast model, which allows for that, unless it is told to be plain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from isoloss.errors import FitError, InputError, UnidentifiedError
from isoloss.fitting.batch import solve_many
from isoloss.fitting.intervals import check_draws, check_seed, robust_scale
from isoloss.fitting.parametric import Fit, check_delta
from isoloss.fitting.polish import Solutions
from isoloss.fitting.search import minima
from isoloss.laws.forms import Array, Law
from isoloss.runs import Runs
from isoloss.trust import resampling
from isoloss.trust.forecast_model import Method, describe, method_of, posterior
from isoloss.trust.quantiles import Interval, interval

_EFFICIENT = 1.345  # Huber 1964: 95 % efficient at the normal distribution
_LEAST_DELTA = 1e-9
_PER_COEFFICIENT = 5
_FEWEST_KEPT = 0.5
_RIVAL = 1.5


@dataclass(frozen=True, eq=False)
class Draws:
    """A fitted law resampled k times.

    law: the law with coefficients of shape (k,). noise: log observed - log predicted of the runs,
    corrected for leverage, to draw a new run's noise from. spare: clusters of runs beyond the
    coefficients; intervals are widened by Student's t for it. resampled: "clusters" (runs drawn
    with replacement) or "residuals" (dealt out anew). failed: how many draws did not settle and are
    not among the k.
    """

    fit: Fit
    law: Law
    delta: float | None
    seed: int
    noise: Array
    spare: int
    resampled: Literal["clusters", "residuals"]
    failed: int

    def __len__(self) -> int:
        return int(np.size(next(iter(self.law.coefficients().values()))))

    @property
    def asked(self) -> int:
        """How many draws were asked for: those there are, and those that did not settle."""
        return len(self) + self.failed

    def interval(self, fn: Callable[[Law], ArrayLike], level: float = 0.9) -> Interval:
        """Return the interval (low, mid, high) of any quantity of the law.

        fn: takes the law with coefficients of shape (k,), returns (k,) or (k, ...); for losses at
        m points call `law.column()`. level: the share inside.
        Quantiles of the draws, taken further out by Student's t with `spare` degrees of freedom.
        Raises InputError if fewer than ten draws would lie outside.
        """
        values = np.asarray(fn(self.law), dtype=np.float64)
        if values.ndim == 0 or len(values) != len(self):
            raise InputError(f"fn must return one value for each of the {len(self)} draws first")
        return interval(values, level, self.spare, self.asked)

    def predict(
        self,
        *variables: ArrayLike,
        level: float = 0.9,
        kind: Literal["run", "mean"] = "run",
        forecast: Method | None = None,
    ) -> Interval:
        """Return the interval of the loss at new points, each part of the shape of the variables.

        variables: as the law takes them, n in parameters and d in tokens. kind: "run" is one new
        run; "mean" is the law itself, uncertain as its coefficients are, and always plain.
        forecast: a ForecastModel, which holds the misfit of the law beyond the runs; "plain" for
        the draws with the noise of a run, residuals of the fit drawn anew and at least the spread
        between seeds, without any misfit; by default the forecast model where it covers the law
        (`ForecastModel.covers`; `forecast_method` says which).
        Raises InputError for a point that is not positive, or a model that does not cover the law.
        """
        if kind not in ("run", "mean"):
            raise InputError(f'kind is "run" or "mean", not {kind!r}')
        method = method_of(forecast, self.fit)
        names = self.fit.form.variables
        if len(variables) != len(names):
            raise InputError(f"{self.fit.form.__name__} takes ({', '.join(names)})")
        arrays = np.broadcast_arrays(*(np.asarray(v, dtype=np.float64) for v in variables))
        for name, array in zip(names, arrays, strict=True):
            if not np.all(np.isfinite(array) & (array > 0)):
                raise InputError(f"predict needs a positive {name!r} at every point")
        shape = arrays[0].shape
        points = [np.ravel(array) for array in arrays]
        if kind == "run" and method != "plain":
            found = posterior(
                method,
                self.fit,
                draws=self.asked,
                seed=self.seed,
                least_noise=resampling.seed_spread(self.fit.runs),
            )
            low, mid, high = interval(found.losses(*points), level)
        else:
            losses = self.law.column()(*points)
            if kind == "run":
                losses = losses * np.exp(self._drawn_noise())[:, None]
            low, mid, high = interval(losses, level, self.spare, self.asked)
        return Interval(low.reshape(shape), mid.reshape(shape), high.reshape(shape))

    def forecast_method(self, forecast: Method | None = None) -> str:
        """Return how `predict` forecasts a run: "forecast model" or "plain"."""
        return describe(method_of(forecast, self.fit))

    def _drawn_noise(self) -> Array:
        """One noise for all points (k,): the interval at a point does not depend on the others."""
        random = np.random.default_rng([self.seed, 1])
        noise = random.choice(self.noise, size=len(self))
        if self.resampled == "residuals":
            noise = noise * random.choice([-1.0, 1.0], size=len(self))
        return noise


def bootstrap(fit: Fit, *, draws: int = 1000, seed: int = 0, delta: float | None = None) -> Draws:
    """Fit the law again to resamples of the runs, all draws solved together.

    fit: from `fit`. draws: how many. seed: the same seed gives the same draws. delta: where the
    Huber loss turns linear; by default 1.345 times the robust scale of the residuals, which is
    nearly as sharp as least squares and still robust (the published 1e-3 is close to a median
    regression, and a median's resamples are rough); the draws then centre on that estimate.
    Runs are resampled by whole clusters: rows of one run, and seeds of one configuration. With
    fewer than five clusters to a coefficient the residuals of clusters are resampled instead.
    Raises UnidentifiedError if no more clusters than coefficients are there, FitError if most draws
    did not settle.
    Source: Efron 1979; Besiroglu et al. 2024 (cases); Wu 1986 (leverage); Student's t for the
    spare runs. Left out: misfit of the law, which `predict` adds.
    """
    if not isinstance(fit, Fit):
        raise InputError(f"bootstrap takes a fit, such as fit(Chinchilla, runs), not {fit!r}")
    check_draws(draws)
    check_seed(seed)
    check_delta(delta)
    design = fit.design
    used = fit.weights > 0
    runs, weights = (fit.runs, fit.weights) if used.all() else (fit.runs[used], fit.weights[used])
    numbers = resampling.clusters(runs)
    count = int(numbers.max()) + 1
    spare = count - design.size
    if spare < 1:
        raise UnidentifiedError(
            f"{count} independent runs for {design.size} coefficients of {fit.form.__name__} leave "
            f"none to measure doubt by; add at least {1 - spare}",
            partial=fit,
        )
    if delta is None:
        begun, delta = robust_centre(fit, weights)
    else:
        begun = _rivals(minima(design, weights, delta))
    centre = begun[0]
    residuals, jacobian = design.evaluate(centre[None], design.log_loss[None])
    spread = resampling.spread_residuals(residuals[0], jacobian[0], delta)
    method: Literal["clusters", "residuals"] = (
        "clusters" if count >= _PER_COEFFICIENT * design.size else "residuals"
    )

    def resample(number: int, size: int) -> tuple[Array, Array]:
        random = np.random.default_rng([seed, 0, number])
        if method == "clusters":
            drawn = resampling.drawn_clusters(numbers, size, random)
            return design.log_loss[None], weights * drawn
        dealt = resampling.dealt_residuals(spread, numbers, size, random)
        return design.observed(residuals[0], dealt), weights[None]

    solved = solve_many(design, begun, resample, draws, delta)
    kept = solved.converged & np.isfinite(solved.coordinates).all(axis=1)
    if kept.mean() < _FEWEST_KEPT:
        raise FitError(
            f"only {int(kept.sum())} of {draws} resamples could be fitted; add runs", partial=fit
        )
    return Draws(
        fit=fit,
        law=design.law(solved.coordinates[kept]),
        delta=delta,
        seed=seed,
        noise=_noise(fit, runs, centre, delta),
        spare=spare,
        resampled=method,
        failed=int(draws - kept.sum()),
    )


def robust_centre(fit: Fit, weights: Array) -> tuple[Array, float]:
    """Return the lowest minima (s, q), the best first, at 1.345 times the residuals' scale: delta.

    weights: (m,), of the runs that the design holds.
    """
    centre, delta = fit.coordinates[None], _LEAST_DELTA
    for _ in range(2):
        residuals, _ = fit.design.evaluate(centre[:1], fit.design.log_loss[None])
        spare = max(residuals.size - fit.design.size, 1)
        delta = max(_EFFICIENT * robust_scale(residuals, spare), _LEAST_DELTA)
        centre = _rivals(minima(fit.design, weights, delta))
    return centre, delta


def _rivals(found: Solutions) -> Array:
    """The minima low enough that a resample may prefer them to the best."""
    return found.at(found.objectives <= _RIVAL * found.objectives[0]).coordinates


def _noise(fit: Fit, runs: Runs, centre: Array, delta: float | None) -> Array:
    """Log observed - log predicted, to draw a run's noise from, no narrower than seeds differ."""
    design = replace(fit.design, residual="log")
    if fit.residual == "linear" and delta is not None:
        delta = delta / float(np.exp(design.mean_log_loss))
    residuals, jacobian = design.evaluate(centre[None], design.log_loss[None])
    noise = -resampling.spread_residuals(residuals[0], jacobian[0], delta)
    seeds, width = resampling.seed_spread(runs), float(np.sqrt(np.mean(noise**2)))
    if seeds <= width:
        return noise
    return noise * (seeds / width) if width > 0 else np.array([-seeds, seeds])
