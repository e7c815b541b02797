"""What people use today, written out to be compared with: scipy's optimizers in a notebook."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from isoloss.runs import Runs

Array = NDArray[np.float64]


def objective(p: Array, x: Array, y: Array, log_loss: Array, delta: float) -> tuple[float, Array]:
    """Summed Huber loss of log residuals of E + A/n^alpha + B/d^beta, and its gradient.

    p: log A, log B, log E, alpha, beta; x, y: log n and log d, centred.
    """
    a, b, e, alpha, beta = p
    of_n = np.exp(np.clip(a - alpha * x, -60, 60))
    of_d = np.exp(np.clip(b - beta * y, -60, 60))
    total = of_n + of_d + np.exp(e)
    r = np.log(total) - log_loss
    inside = np.abs(r) <= delta
    value = np.where(inside, 0.5 * r * r, delta * (np.abs(r) - 0.5 * delta)).sum()
    g = np.where(inside, r, delta * np.sign(r)) / total
    slopes = (of_n, of_d, np.full_like(total, np.exp(e)), -of_n * x, -of_d * y)
    return float(value), np.array([(g * slope).sum() for slope in slopes])


def predicted(p: Array, x: Array, y: Array) -> Array:
    """Log losses of the law at centred log n and log d."""
    a, b, e, alpha, beta = p
    return np.asarray(np.log(np.exp(a - alpha * x) + np.exp(b - beta * y) + np.exp(e)))


def fit_multi_start(x: Array, y: Array, log_loss: Array, delta: float = 1e-3) -> Array:
    """The best of 27 starts of L-BFGS-B, polished three times by BFGS."""
    lowest, middle = np.exp(log_loss.min()), np.exp(np.median(log_loss))
    found = []
    for alpha, beta, share in product((0.2, 0.5, 0.8), (0.2, 0.5, 0.8), (0.5, 0.8, 0.95)):
        rest = max(middle - share * lowest, 1e-3)
        start = [np.log(rest / 2), np.log(rest / 2), np.log(share * lowest), alpha, beta]
        found.append(
            minimize(
                objective, start, args=(x, y, log_loss, delta), jac=True, method="L-BFGS-B",
                options={"maxiter": 3000, "ftol": 1e-15, "gtol": 1e-12},
            )
        )  # fmt: skip
    best = min(found, key=lambda result: result.fun)
    for _ in range(3):
        again = minimize(
            objective, best.x, args=(x, y, log_loss, delta), jac=True, method="BFGS",
            options={"gtol": 1e-12},
        )  # fmt: skip
        best = min(best, again, key=lambda result: result.fun)
    return np.asarray(best.x)


def notebook(train: Runs, test: Runs, draws: int, random: np.random.Generator) -> Array:
    """The careful notebook: that fit, row bootstrap, a residual added: (draws + 1, m) log losses.

    The first row is the fit itself.
    """
    shift = np.log(train.n).mean(), np.log(train.d).mean()
    x, y, log_loss = np.log(train.n) - shift[0], np.log(train.d) - shift[1], np.log(train.loss)
    at = np.log(test.n) - shift[0], np.log(test.d) - shift[1]
    best = fit_multi_start(x, y, log_loss)
    residuals = log_loss - predicted(best, x, y)
    rows = [predicted(best, *at)]
    for _ in range(draws):
        i = random.integers(len(log_loss), size=len(log_loss))
        drawn = minimize(
            objective, best, args=(x[i], y[i], log_loss[i], 1e-3), jac=True, method="BFGS",
            options={"maxiter": 300},
        )  # fmt: skip
        rows.append(predicted(drawn.x, *at) + random.choice(residuals, size=len(test)))
    return np.array(rows)
