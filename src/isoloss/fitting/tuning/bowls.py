"""Bowls of loss against the settings, one for each configuration, that learn from each other.

Near its optimum the log loss of configuration g is

    y = a_g + b_g . z + kappa_g * (z' S z / 2, with phi(z_1) for z_1^2 / 2) + noise,
    phi(z) = (exp(gamma z) - 1 - gamma z) / gamma^2,    z = ln settings - an origin.

phi is a quadratic for gamma = 0; otherwise it is steeper on one side, as losses are above the best
learning rate, and keeps its form under any shift of z. Offset and slopes are free in each
configuration. The curvature is not, for three arms can hardly give it: ln kappa_g lies about a
plane in ln n and ln d, with a scatter tau that is estimated too; gamma and the shape S are common.
So a configuration with many arms keeps its own curvature, and one with few borrows it (partial
pooling). The noise sigma is common, in relative loss.

Given what is shared, all but kappa_g is linear and integrated exactly, and kappa_g by quadrature.
The shared numbers have a posterior of few dimensions, drawn by importance resampling from a
Student t at its mode. Priors are weak and centred on what public sweeps show.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from isoloss.fitting.intervals import robust_scale
from isoloss.fitting.tuning.arms import Arms
from isoloss.fitting.tuning.section import phi, steady
from isoloss.laws.forms import Array

_PLANE = ((np.log(0.06), 1.5), (0.0, 0.5), (0.0, 0.5))
_LOG_NOISE = (np.log(0.003), 1.5)
_LOG_SCATTER = (np.log(0.3), 0.7)
_LEAN = (0.0, 0.4)
_STRETCH, _TILT = (-0.5, 1.0), (0.0, 0.5)
"""Prior means and standard deviations: curvature per unit of ln lr squared, its exponents in n and
d; relative noise of a loss; scatter of ln curvature; gamma; log stretch and tilt of S."""

_POWERS = 4  # terms of phi: z^2 / 2 + gamma z^3 / 6 + gamma^2 z^4 / 24 + gamma^3 z^5 / 120

_LEAST_VARIANCE = 1e-12
_WIDEST_STEP = 0.01
_NODES, _NODE_WEIGHTS = np.polynomial.hermite.hermgauss(9)
_GRID = np.linspace(-5.0, 5.0, 41)
_CELLS = 2_000_000  # numbers per array of a chunk


@dataclass(frozen=True, eq=False)
class Bowls:
    """What the likelihood needs of G configurations of p factors, with q curvature features.

    plane: (G, 3) one, centred ln n and ln d. origin: (G, p) ln settings at z = 0.
    spare: (G,) arms beyond offset and slopes. yy, fy, ff: (G,), (G, q), (G, q, q) products of log
    loss and curvature features, offset and slopes projected out.
    root, on_y, on_f: (G, p+1, p+1), (G, p+1), (G, p+1, q): the spread of offset and slopes per unit
    of noise, and what they are for y and for each feature.
    """

    plane: Array
    origin: Array
    spare: Array
    yy: Array
    fy: Array
    ff: Array
    root: Array
    on_y: Array
    on_f: Array

    @property
    def factors(self) -> int:
        """How many settings are swept: p."""
        return int(self.origin.shape[1])

    @property
    def size(self) -> int:
        """How many numbers the configurations share."""
        p = self.factors
        return 6 + p * (p + 1) // 2 - 1


def gather(
    arms: tuple[Arms, ...], n: Array, d: Array, weights: list[Array], origin: Array
) -> Bowls:
    """Reduce the arms near the best to the products the likelihood needs.

    n, d: (G,) parameters and tokens. weights: (r,) each, of the near arms. origin: (G, p) near the
    optimum, where the curvature is the one that the plane describes.
    """
    columns = []
    for one, w, at in zip(arms, weights, origin, strict=True):
        y = one.y[one.near]
        slopes, features = _design(one.x[one.near] - at)
        inverse = np.linalg.inv(slopes.T @ (w[:, None] * slopes))
        hat = inverse @ (slopes * w[:, None]).T
        flat_y, flat_f = y - slopes @ (hat @ y), features - slopes @ (hat @ features)
        weighted = flat_f * w[:, None]
        columns.append(
            (
                max(float(w.sum()) - slopes.shape[1], 0.0),
                float(flat_y @ (w * flat_y)),
                weighted.T @ flat_y,
                weighted.T @ flat_f,
                np.linalg.cholesky(inverse),
                hat @ y,
                hat @ features,
            )
        )
    log_n, log_d = np.log(n), np.log(d)
    plane = np.column_stack([np.ones(len(arms)), log_n - log_n.mean(), log_d - log_d.mean()])
    stacked = [np.array(column) for column in zip(*columns, strict=True)]
    return Bowls(plane, origin, *stacked)


@cache
def _pairs(p: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The places of S on and above its diagonal, but for the first."""
    rows, columns = np.triu_indices(p)
    return rows[1:], columns[1:]


def _design(z: Array) -> tuple[Array, Array]:
    """One and z, (r, p+1); the terms of phi(z_1), then of the rest of z' S z / 2, (r, q)."""
    p = z.shape[1]
    powers = np.arange(2, 2 + _POWERS)
    terms = z[:, :1] ** powers / np.cumprod(np.arange(1, 2 + _POWERS))[1:]
    rows, columns = _pairs(p)
    rest = z[:, rows] * z[:, columns] * np.where(rows == columns, 0.5, 1.0)
    return np.column_stack([np.ones(len(z)), z]), np.column_stack([terms, rest])


def _bends(theta: Array, p: int) -> Array:
    """The weights of the features, (k, q): powers of gamma, then the rest of S."""
    rows, columns = _pairs(p)
    powers = theta[:, 5:6] ** np.arange(_POWERS)
    return np.column_stack([powers, shapes(theta, p)[:, rows, columns]])


def log_posterior(theta: Array, bowls: Bowls) -> Array:
    """Return the log posterior, up to a constant, of k sets of shared numbers, (k, size)."""
    size = max(1, _CELLS // (len(bowls.spare) * len(_NODES)))
    parts = [_log_posterior(theta[at : at + size], bowls) for at in range(0, len(theta), size)]
    return np.concatenate(parts)


def _log_posterior(theta: Array, bowls: Bowls) -> Array:
    variance, tau, mean, fy, ff = _shared(theta, bowls)
    u, width = _log_curvature(variance, tau, mean, fy, ff)
    at = u[..., None] + np.sqrt(2.0) * width[..., None] * _NODES
    depth = _misfit(at, bowls.yy[:, None], fy[..., None], ff[..., None], variance[..., None])
    depth = depth + 0.5 * ((at - mean[..., None]) / tau[..., None]) ** 2
    least = depth.min(axis=-1)
    inside = np.sum(_NODE_WEIGHTS * np.exp(_NODES**2 - depth + least[..., None]), axis=-1)
    likelihood = np.log(inside) - least + np.log(width / tau) - 0.5 * bowls.spare * np.log(variance)
    return np.asarray(likelihood.sum(axis=1) + _log_prior(theta, bowls.factors))


def _log_prior(theta: Array, p: int) -> Array:
    means, sds = _prior(p)
    return np.asarray(-0.5 * np.sum(((theta - means) / sds) ** 2, axis=1))


def _prior(p: int) -> tuple[Array, Array]:
    shape = [_STRETCH if i == j else _TILT for i in range(1, p) for j in range(i + 1)]
    table = np.array([*_PLANE, _LOG_NOISE, _LOG_SCATTER, _LEAN, *shape])
    return table[:, 0], table[:, 1]


def shapes(theta: Array, p: int) -> Array:
    """Return S, (k, p, p): positive definite, 1 for the learning rate."""
    lower = np.zeros((len(theta), p, p))
    lower[:, 0, 0] = 1.0
    at = 6
    for i in range(1, p):
        for j in range(i + 1):
            lower[:, i, j] = np.exp(theta[:, at]) if i == j else theta[:, at]
            at += 1
    return np.asarray(lower @ lower.transpose(0, 2, 1))


def _shared(theta: Array, bowls: Bowls) -> tuple[Array, Array, Array, Array, Array]:
    """Noise variance and scatter (k, 1), mean ln curvature, and the products for S, all (k, G)."""
    s = _bends(theta, bowls.factors)
    variance = np.exp(2 * theta[:, 3:4]) + _LEAST_VARIANCE
    tau = np.exp(theta[:, 4:5])
    ff = np.einsum("ka,gab,kb->kg", s, bowls.ff, s)
    return variance, tau, theta[:, :3] @ bowls.plane.T, s @ bowls.fy.T, ff


def _misfit(u: Array, yy: Array, fy: Array, ff: Array, variance: Array) -> Array:
    kappa = np.exp(np.clip(u, -60.0, 60.0))
    return np.asarray(np.maximum(yy - 2 * kappa * fy + kappa**2 * ff, 0.0) / (2 * variance))


def _log_curvature(
    variance: Array, tau: Array, mean: Array, fy: Array, ff: Array
) -> tuple[Array, Array]:
    """The mode of ln kappa given all that is shared, and the width about it; each (k, G)."""
    own = np.where(ff > 0, fy / np.where(ff > 0, ff, 1.0), 0.0)
    convex = own > 0
    log_own = np.log(np.where(convex, own, 1.0))
    sure = np.where(convex, own**2 * ff / variance, 0.0)
    u = (sure * log_own + mean / tau**2) / (sure + 1 / tau**2)
    for _ in range(12):
        kappa = np.exp(u)
        slope = kappa * (ff * kappa - fy) / variance + (u - mean) / tau**2
        bend = ff * kappa**2 / variance + 1 / tau**2
        u = u - np.clip(slope / bend, -1.0, 1.0)
    kappa = np.exp(u)
    exact = (2 * ff * kappa**2 - fy * kappa) / variance + 1 / tau**2
    bend = np.maximum(exact, 0.25 * (ff * kappa**2 / variance + 1 / tau**2))
    return np.asarray(u), np.asarray(1 / np.sqrt(bend))


def fit_common(bowls: Bowls, start: Array | None = None) -> tuple[Array, Array]:
    """Return the posterior mode of what the configurations share, (size,), and its covariance.

    start: where to begin, such as the mode under other weights; left out, the best of a grid.
    """
    theta = _start(bowls) if start is None else start
    h = np.full(bowls.size, _WIDEST_STEP)
    for _ in range(80):
        value, gradient, curvature = _derivatives(theta, bowls, h)
        # Differences over a third of a standard deviation stay inside a narrow posterior.
        h = np.clip(0.3 / np.sqrt(np.diag(curvature)), 1e-6, _WIDEST_STEP)
        step = np.clip(np.linalg.solve(curvature, gradient), -1.0, 1.0)
        shares = np.array([1.0, 0.5, 0.25, 0.1, 0.02])
        tried = theta + shares[:, None] * step
        values = log_posterior(tried, bowls)
        best = int(np.argmax(values))
        if values[best] - value < 1e-6:
            break
        theta = tried[best]
    return theta, np.asarray(np.linalg.inv(_derivatives(theta, bowls, h)[2]))


def _start(bowls: Bowls) -> Array:
    means, _ = _prior(bowls.factors)
    starts = np.repeat(means[None], 4 * 3 * 5, axis=0)
    noise, scatter, level = np.meshgrid([-7.5, -6.0, -4.5, -3.0], [-2.0, -1.2, -0.5], range(5))
    starts[:, 3], starts[:, 4] = noise.ravel(), scatter.ravel()
    starts[:, 0] = -5.5 + 1.3 * level.ravel()
    return np.asarray(starts[int(np.argmax(log_posterior(starts, bowls)))])


def _derivatives(theta: Array, bowls: Bowls, h: Array) -> tuple[float, Array, Array]:
    """The log posterior, its gradient, and its negative Hessian made positive definite.

    h: (size,) steps of the central differences.
    """
    size = len(theta)
    i, j = np.triu_indices(size)
    unit = np.diag(h)
    moves = [np.zeros((1, size)), unit, -unit, unit[i] + unit[j], -unit[i] - unit[j]]
    values = log_posterior(theta + np.concatenate(moves), bowls)
    middle, ups, downs = values[0], values[1 : 1 + size], values[1 + size : 1 + 2 * size]
    both, neither = np.split(values[1 + 2 * size :], 2)
    hessian = np.zeros((size, size))
    mixed = both + neither - ups[i] - ups[j] - downs[i] - downs[j] + 2 * middle
    hessian[i, j] = hessian[j, i] = mixed / (2 * h[i] * h[j])
    on = np.arange(size)
    hessian[on, on] = (ups + downs - 2 * middle) / h**2
    # In units of the steps, where the eigenvalues of unlike numbers can be compared.
    roots, vectors = np.linalg.eigh(-hessian * np.outer(h, h))
    positive = vectors @ np.diag(np.maximum(np.abs(roots), 1e-6)) @ vectors.T
    return float(middle), (ups - downs) / (2 * h), positive / np.outer(h, h)


@dataclass(frozen=True, eq=False)
class Optima:
    """k draws of every configuration's optimum.

    at: (k, G, p) ln settings. log_loss: (k, G). log_curvature: (k, G), for the learning rate.
    noise, scatter, lean: (k,) relative sd of a loss; sd of ln curvature about its plane; gamma.
    """

    at: Array
    log_loss: Array
    log_curvature: Array
    noise: Array
    scatter: Array
    lean: Array


def draw_optima(
    bowls: Bowls, mode: Array, covariance: Array, count: int, random: np.random.Generator
) -> Optima:
    """Draw `count` optima from the posterior, given the mode and covariance of what is shared."""
    theta = _draw_shared(bowls, mode, covariance, count, random)
    size = max(1, _CELLS // (len(bowls.spare) * len(_GRID)))
    parts = [_draw(theta[at : at + size], bowls, random) for at in range(0, count, size)]
    at, log_loss, u = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Optima(at, log_loss, u, np.exp(theta[:, 3]), np.exp(theta[:, 4]), theta[:, 5])


def _draw_shared(
    bowls: Bowls, mode: Array, covariance: Array, count: int, random: np.random.Generator
) -> Array:
    """Importance resampling from a Student t of 6 degrees of freedom about the mode."""
    freedom, proposals = 6.0, max(3 * count, 3000)
    normal = random.standard_normal((proposals, len(mode)))
    stretch = np.sqrt(freedom / random.chisquare(freedom, proposals))
    theta = mode + stretch[:, None] * (normal @ np.linalg.cholesky(covariance).T)
    square = np.sum(normal**2, axis=1) * stretch**2
    proposed = -0.5 * (freedom + len(mode)) * np.log1p(square / freedom)
    weight = log_posterior(theta, bowls) - proposed
    share = np.cumsum(np.exp(weight - weight.max()))
    ticks = (np.arange(count) + random.random()) / count * share[-1]
    chosen = np.searchsorted(share, ticks)
    return np.asarray(theta[random.permutation(np.minimum(chosen, proposals - 1))])


def _draw(theta: Array, bowls: Bowls, random: np.random.Generator) -> tuple[Array, Array, Array]:
    variance, tau, mean, fy, ff = _shared(theta, bowls)
    mode, width = _log_curvature(variance, tau, mean, fy, ff)
    grid = mode[..., None] + width[..., None] * _GRID
    depth = _misfit(grid, bowls.yy[:, None], fy[..., None], ff[..., None], variance[..., None])
    depth = depth + 0.5 * ((grid - mean[..., None]) / tau[..., None]) ** 2
    share = np.cumsum(np.exp(depth.min(axis=-1, keepdims=True) - depth), axis=-1)
    pick = random.random((*mode.shape, 1)) * share[..., -1:]
    chosen = np.argmax(share >= pick, axis=-1)
    spacing = _GRID[1] - _GRID[0]
    u = mode + width * (_GRID[chosen] + spacing * (random.random(mode.shape) - 0.5))
    kappa = np.exp(u)
    flat = _bends(theta, bowls.factors)
    level = bowls.on_y - kappa[..., None] * np.einsum("gaq,kq->kga", bowls.on_f, flat)
    normal = random.standard_normal(level.shape)
    level = level + np.sqrt(variance)[..., None] * np.einsum("gab,kgb->kga", bowls.root, normal)
    z, bottom = _lowest(level, kappa, theta)
    return bowls.origin + z, bottom, u + theta[:, 5:6] * z[..., 0]


def _lowest(level: Array, kappa: Array, theta: Array) -> tuple[Array, Array]:
    """Where bowls are lowest and how low: z (k, G, p) and y (k, G).

    level: (k, G, p+1) offset and slopes; kappa: (k, G). With the other factors at their best for a
    given z_1, what is left is an equation in z_1, closed where there are no others.
    """
    p = level.shape[-1] - 1
    s, gamma = shapes(theta, p), steady(theta[:, 5:6])
    t = level[..., 1:] / kappa[..., None]
    inner = np.linalg.inv(s[:, 1:, 1:])
    carry = np.einsum("ka,kab->kb", s[:, 0, 1:], inner)
    first = t[..., 0] - np.einsum("kb,kgb->kg", carry, t[..., 1:])
    lean = np.sum(carry * s[:, 0, 1:], axis=1)[:, None]
    z = np.log1p(np.maximum(-gamma * first / (1 - lean), -0.95)) / gamma
    for _ in range(12 if p > 1 else 0):
        slope = np.maximum(np.exp(gamma * z) - lean, 0.05 * (1 - lean))
        step = (first + np.expm1(gamma * z) / gamma - lean * z) / slope
        z = z - np.clip(step, -1.0, 1.0)
    others = -np.einsum("kab,kgb->kga", inner, t[..., 1:] + z[..., None] * s[:, None, 0, 1:])
    whole = np.concatenate([z[..., None], others], axis=-1)
    rest = 0.5 * np.einsum("kga,kab,kgb->kg", whole, s, whole) - 0.5 * z**2
    bend = phi(z, gamma) + rest
    bottom = level[..., 0] + np.sum(level[..., 1:] * whole, axis=-1) + kappa * bend
    return whole, bottom


def settle(
    arms: tuple[Arms, ...], bowls: Bowls, theta: Array
) -> tuple[list[Array], Array, list[Array]]:
    """Return the weights of the near arms, the origins for the next round, and the misfits.

    A weight is 1 up to four robust sds of the residual, then falls. Where arms are left over
    beyond offset, slopes and curvature it falls as the square, and a gross outlier goes; where not,
    an outlier and an odd curvature look alike, and it falls as the residual, which bounds either.
    An origin is the optimum, or the end of the arms nearest to it. Misfits are log observed - log
    fitted of the near arms.
    """
    variance, tau, mean, fy, ff = _shared(theta[None], bowls)
    mode, width = _log_curvature(variance, tau, mean, fy, ff)
    kappa, bends, p = np.exp(mode), _bends(theta[None], bowls.factors)[0], bowls.factors
    level = bowls.on_y - kappa[0, :, None] * (bowls.on_f @ bends)
    z, _ = _lowest(level[None], kappa, theta[None])
    residuals, origins, misfits = [], [], []
    for g, one in enumerate(arms):
        slopes, features = _design(one.x[one.near] - bowls.origin[g])
        bent = features @ bends
        residual = one.y[one.near] - slopes @ level[g] - kappa[0, g] * bent
        spread = np.sum((slopes @ bowls.root[g]) ** 2, axis=1)
        flat = bent - slopes @ (bowls.on_f[g] @ bends)
        spread += (flat * kappa[0, g] * width[0, g]) ** 2 / variance[0, 0]
        misfits.append(residual)
        residuals.append(np.abs(residual) / np.sqrt(np.maximum(1 - spread, 0.05)))
        near = one.x[one.near]
        origins.append(np.clip(bowls.origin[g] + z[0, g], near.min(axis=0), near.max(axis=0)))
    spare = [len(r) - 1 - p for r in residuals]
    pooled = [r for r, left in zip(residuals, spare, strict=True) if left > 0]
    noise = float(np.sqrt(variance[0, 0]))
    scale = max(robust_scale(np.concatenate(pooled)), noise / 3) if pooled else np.inf
    weights = [
        np.minimum(1.0, 4.0 * scale / np.maximum(r, 1e-300)) ** (2 if left > 1 else 1)
        if left > 0
        else np.ones(len(r))
        for r, left in zip(residuals, spare, strict=True)
    ]
    return weights, np.array(origins), misfits
