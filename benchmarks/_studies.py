"""Simulated studies with a known answer: ten published laws, three designs, honest and wrong noise.

A study is one table of runs. On an exact truth the losses are the law's with normal noise in log
loss; on a misspecified one the law is wrong by a smooth 0.5 % over the design, which goes on beyond
it, and the noise is Student's t with 4 degrees of freedom, of the same standard deviation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isoloss.laws import Chinchilla, allocate
from isoloss.runs import Runs

Array = NDArray[np.float64]

TRUTHS = {
    "Hoffmann 2022": Chinchilla(1.69337, 406.4010, 410.7228, 0.33917084, 0.2849083),
    "Besiroglu 2024": Chinchilla(1.81724, 477.84, 2143.86, 0.34731, 0.36718),
    "Takano 2023": Chinchilla(1.70024, 184.69, 1633.48, 0.28901, 0.35579),
    "Apple 2025": Chinchilla(
        1.90509, 4.0005 * 1e6**0.35106, 1.0509 * 1e9**0.45874, 0.35106, 0.45874
    ),
    "(Mis)Fitting 2025": Chinchilla(
        np.exp(0.59208), np.exp(3.9388), np.exp(13.05576), 0.2002, 0.6357
    ),
    "Gadre 2024, C4": Chinchilla(1.50826, 113.6926, 152.51226, 0.24247224, 0.24247224),
    "Gadre 2024, RedPajama": Chinchilla(1.83665, 166.21099, 287.1681, 0.27285071, 0.27285071),
    "Muennighoff 2023": Chinchilla(
        np.exp(0.6254804), np.exp(6.255414), np.exp(7.3049974), 0.3526596, 0.3526596
    ),
    "Kumar 2024": Chinchilla(2.7648, 4299.0, 18060.0, 0.4965, 0.4965),
    "Krajewski 2024, dense": Chinchilla(0.47, 16.3, 26.7, 0.126, 0.127),
}  # fmt: skip
"""Published fits of the additive law, by who published them; each as printed or in its code."""

DESIGNS = ("isoflop", "grid", "ladder")
COUNTS = (16, 30, 60)
SIGMAS = (0.002, 0.005, 0.015)
LACK_OF_FIT = 0.005
_WAVES, _LENGTH = 64, 3.0  # of the smooth error: cosines, and e-folds over which it changes


@dataclass(frozen=True)
class Study:
    """Runs, and what is true at ten times their largest compute.

    n, d: the law's best size and tokens there. loss: the true loss there, lack of fit included.
    new: that of one run, noise included.
    """

    runs: Runs
    c: float
    n: float
    d: float
    loss: float
    new: float


def places(kind: str, count: int, law: Chinchilla) -> tuple[Array, Array]:
    """Sizes and tokens of an IsoFLOP, grid or ladder design of `count` runs."""
    if kind == "isoflop":
        budgets = {16: 3, 30: 5, 60: 6}[count]
        n, d = [], []
        for i, c in enumerate(np.logspace(18, 18 + 0.5 * (budgets - 1), budgets)):
            share = count // budgets + (i < count % budgets)
            sizes = allocate(law, float(c)).n * np.geomspace(0.25, 4, share)
            n.append(sizes)
            d.append(c / (6 * sizes))
        return np.concatenate(n), np.concatenate(d)
    sizes, others = {16: (4, 4), 30: (6, 5), 60: (10, 6)}[count]
    n = np.logspace(7.5, 9, sizes)
    if kind == "grid":
        n, d = np.meshgrid(n, np.logspace(8.5, 10.5, others))
    else:
        n, multiple = np.meshgrid(n, np.geomspace(1, 20, others))
        d = 20 * multiple * n
    return n.ravel(), d.ravel()


def simulate(
    law: Chinchilla, kind: str, count: int, sigma: float, seed: int, *, exact: bool
) -> Study:
    """Draw one study; the same arguments give the same one, others one that is independent."""
    key = [round(1e6 * sigma), DESIGNS.index(kind), *np.frombuffer(repr(law).encode(), np.uint8)]
    random = np.random.default_rng([seed, count, int(exact), *key])
    n, d = places(kind, count, law)
    c = 10 * float((6 * n * d).max())
    best = allocate(law, c)
    loss, aim = law(n, d), float(law(best.n, best.d))
    if exact:
        noise = sigma * random.standard_normal(count + 1)
    else:
        wrong = smooth(random)(np.append(n, best.n), np.append(d, best.d))
        wrong *= LACK_OF_FIT / np.sqrt(np.mean(wrong[:-1] ** 2))
        loss, aim = loss * np.exp(wrong[:-1]), aim * float(np.exp(wrong[-1]))
        noise = sigma * np.sqrt(0.5) * random.standard_t(4, count + 1)
    runs = Runs(n=n, d=d, loss=loss * np.exp(noise[:-1]))
    return Study(runs, c, float(best.n), float(best.d), aim, aim * float(np.exp(noise[-1])))


def smooth(random: np.random.Generator) -> Callable[[Array, Array], Array]:
    """A random smooth function of log n and log d, of mean zero and variance one, at m points."""
    waves = random.standard_normal((_WAVES, 2)) / _LENGTH
    phases = random.uniform(0, 2 * np.pi, _WAVES)

    def at(n: Array, d: Array) -> Array:
        places = np.stack([np.log(n), np.log(d)], axis=1)
        return np.asarray(np.cos(places @ waves.T + phases).sum(axis=1) / np.sqrt(_WAVES / 2))

    return at


def log_best(law: Chinchilla, c: float) -> Array:
    """ln N* at compute c, by the closed form; coefficients may be arrays."""
    ratio = np.log(law.alpha * law.A) - np.log(law.beta * law.B)
    found: Array = (ratio + law.beta * np.log(c / 6)) / (law.alpha + law.beta)
    return found


def best_loss(law: Chinchilla, c: float) -> Array:
    """The loss at N* and compute c; coefficients may be arrays."""
    n = np.exp(log_best(law, c))
    found: Array = law(n, c / 6 / n)
    return found


def fisher_widths(
    law: Chinchilla, n: Array, d: Array, c: float, sigma: float
) -> tuple[float, float]:
    """Widths of the 90 % intervals that normal theory gives ln N* and log best loss at compute c.

    The inverse Fisher information of the five coefficients, for normal noise in log loss.
    """
    centre = np.array([np.log(law.E), np.log(law.A), np.log(law.B), law.alpha, law.beta])
    steps = 1e-5 * np.eye(5)

    def at(p: Array) -> Chinchilla:
        return Chinchilla(*np.exp(p[:3]), *p[3:])

    def slopes(value: object) -> Array:
        return np.array([(value(at(centre + h)) - value(at(centre - h))) / 2e-5 for h in steps])  # type: ignore[operator]

    jacobian = slopes(lambda law: np.log(law(n, d)))
    scale = np.sqrt((jacobian**2).sum(axis=1))
    inverse = np.linalg.inv((jacobian / scale[:, None]) @ (jacobian / scale[:, None]).T)
    found = []
    for value in (lambda law: log_best(law, c), lambda law: np.log(best_loss(law, c))):
        g = slopes(value) / scale
        found.append(2 * 1.6449 * sigma * float(np.sqrt(g @ inverse @ g)))
    return found[0], found[1]
