"""How often two equal arms are called different, and a true 1.25x saving of compute is found.

    python benchmarks/compare_coverage.py [--studies 400] [--free]

Two arms of twelve runs on one design, sigma 0.5 % of log loss: independent, or twins that share a
part of their noise and of the law's error. Truths from published fits. Printed for each cell: the
share called different where they are equal (to be at most 7 %), the share where the better arm is
named at 1.25x (to be at least 80 %), how often the interval holds the true multiplier, and its
median width. Asymptotes are shared, as the truths have them; with `--free` they are free.
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import dataclass, replace

import _results
import numpy as np

from isoloss.laws import Chinchilla, allocate
from isoloss.runs import Runs
from isoloss.trust.compare import compare

TRUTHS = {
    "Besiroglu 2024": Chinchilla(1.8172, 477.84, 2143.86, 0.34731, 0.36718),
    "Hoffmann 2022": Chinchilla(1.69337, 406.401, 410.7228, 0.33917, 0.28491),
    "(Mis)Fitting best rate": Chinchilla(1.398, 18.0, 8.0e5, 0.138, 0.670),
    "Gadre RedPajama": Chinchilla(1.72, 120.0, 240.0, 0.243, 0.273),
}
DESIGNS = ("isoflop", "grid", "ladder")
SIGMA = 0.005
GAIN = 1.25


@dataclass(frozen=True)
class Cell:
    """One kind of study: the truth, the design, how the arms' noise goes together."""

    truth: str
    design: str
    twins: bool


def design(kind: str, law: Chinchilla) -> tuple[np.ndarray, np.ndarray]:
    """Sizes and tokens of twelve runs."""
    if kind == "isoflop":
        budgets = np.array([1e18, 1e19, 1e20])
        best = np.array([float(allocate(law, c).n) for c in budgets])
        n = (best[:, None] * np.array([0.35, 0.75, 1.4, 3.1])).ravel()
        return n, np.repeat(budgets, 4) / (6 * n)
    if kind == "grid":
        n, d = np.meshgrid([4e7, 1.1e8, 3.3e8, 9e8], [1.2e9, 5e9, 2.1e10])
        return n.ravel(), d.ravel()
    n = np.array([3e7, 1e8, 2.7e8, 8e8])
    ratio = np.array([8.0, 21.0, 57.0])
    return np.repeat(n, 3), np.repeat(n, 3) * np.tile(ratio, 4)


def better(law: Chinchilla, gain: float) -> Chinchilla:
    """The law that reaches with c what `law` reaches with gain c, at every c."""
    ratio = gain ** -(law.alpha * law.beta / (law.alpha + law.beta))
    return replace(law, A=law.A * ratio, B=law.B * ratio)


def arms(cell: Cell, gain: float, random: np.random.Generator) -> tuple[Runs, Runs]:
    """Two arms of twelve runs; twins share half the variance, and a smooth error of the law."""
    law = TRUTHS[cell.truth]
    n, d = design(cell.design, law)
    shared, wrong = np.zeros(len(n)), np.zeros(len(n))
    own = SIGMA
    if cell.twins:
        shared = SIGMA * np.sqrt(0.5) * random.standard_normal(len(n))
        wrong = 0.005 * np.sin(1.3 * np.log(n) + random.uniform(0, 6))
        own = SIGMA * np.sqrt(0.5)
    else:
        # Strangers: no run of one arm has the size and tokens of one of the other.
        n = n * np.exp(0.1 * random.standard_normal(len(n)))
    made = []
    for one, moved in ((law, 1.0), (better(law, gain), 1.0 if cell.twins else 1.07)):
        noise = shared + wrong + own * random.standard_normal(len(n))
        made.append(Runs(n=n * moved, d=d / moved, loss=one(n * moved, d / moved) * np.exp(noise)))
    return made[0], made[1]


def study(cell: Cell, studies: int, **options: object) -> tuple[float, float, float, float]:
    """Shares called different at 1, named at 1.25, intervals that hold 1.25; median log width."""
    false, found, held, width = 0, 0, 0, []
    for number in range(studies):
        random = np.random.default_rng([number, 7])
        equal = compare(*arms(cell, 1.0, random), seed=number, **options)  # type: ignore[arg-type]
        false += equal.verdict != "not distinguishable"
        apart = compare(*arms(cell, GAIN, random), seed=number, **options)  # type: ignore[arg-type]
        found += apart.verdict == "b"
        low, _, high = apart.multiplier
        held += bool(low <= GAIN <= high)
        width.append(float(np.log(high / low)))
    return false / studies, found / studies, held / studies, float(np.median(width))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=400)
    parser.add_argument("--free", action="store_true", help="let each arm have its asymptote")
    asked = parser.parse_args()
    asymptote = "free" if asked.free else "shared"
    rows = []
    for truth, kind, twins in itertools.product(TRUTHS, DESIGNS, (True, False)):
        shares = study(Cell(truth, kind, twins), asked.studies, asymptote=asymptote)
        size, power, cover, width = shares
        found = [f"{size:.1%}", f"{power:.0%}", f"{cover:.0%}", f"{width:.2f}"]
        rows.append([asymptote, truth, kind, "twins" if twins else "strangers", *found])
        print(rows[-1], flush=True)
    _results.append(
        "compare_coverage",
        (
            "asymptote",
            "truth",
            "design",
            "arms",
            "equal arms called different",
            "1.25x found",
            "95 % interval holds 1.25",
            "its median width (log)",
        ),
        rows,
        f"{asked.studies} studies a cell: two arms of 12 runs, sigma 0.5 % of log loss.",
    )


if __name__ == "__main__":
    main()
