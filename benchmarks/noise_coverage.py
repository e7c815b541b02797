"""How often the interval of a noise scale holds the truth: simulated gradients, and a toy model.

Simulated: gradients of one example are normal in 16 dimensions, of known noise scale B; a record is
400 steps. Short records are 50 steps at 8 and 512 with B = 4,096 in few dimensions, where |G|^2
can hardly be told from zero. There a one-sided answer is wanted: a lower bound, and no upper end
where there is none. Toy: the meter on a language model of 272 parameters whose noise scale is known
from the gradient of every sequence of its population, 30 steps, 300 trials in each of its ways.
"""

from __future__ import annotations

import argparse
import math
import sys

import _noise_toy as toy
import _results as results
import numpy as np
from _noise_records import study

from isoloss.noise import NoiseScale

LONG = ((16, 4, 16), (64, 8, 64), (256, 8, 64), (1024, 16, 128), (4096, 64, 512))
SHORT = (1, 2, 4)


def row(what: str, truth: int, found: list[NoiseScale]) -> tuple[str, ...]:
    return (
        what,
        f"{np.median([one.b_simple for one in found]) / truth:.3f}",
        f"{np.mean([one.low <= truth <= one.high for one in found]):.1%}",
        f"{np.mean([0 < one.low <= truth for one in found]):.1%}",
        f"{np.mean([one.high == math.inf for one in found]):.1%}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000)
    parser.add_argument("--trials", type=int, default=300)
    options = parser.parse_args()
    rows = []
    for truth, small, big in LONG:
        found = study(truth, small, big, 400, 16, options.records)
        rows.append(row(f"B = {truth:,}, {small} and {big}, 400 steps", truth, found))
        print(*rows[-1], file=sys.stderr)
    for dimensions in SHORT:
        found = study(4096, 8, 512, 50, dimensions, options.records)
        rows.append(row(f"B = 4,096, 8 and 512, 50 steps, {dimensions} dimensions", 4096, found))
        print(*rows[-1], file=sys.stderr)
    results.append(
        "noise_coverage",
        ("simulated", "median / truth", "90 % held", "0 < low <= truth", "no upper end"),
        rows,
        f"{options.records:,} records each.",
    )
    sequences = toy.population()
    rows = []
    for way, measure in toy.WAYS.items():
        held = toy.coverage(measure, sequences, options.trials)
        rows.append((way, f"{held:.1%}"))
        print(*rows[-1], file=sys.stderr)
    truth_of_toy = toy.exact(toy.make(), sequences).tokens
    told = toy.by_torchrun(kinds=["ddp", "fsdp"], trials=options.trials, steps=30, parts=1)
    for kind in ("ddp", "fsdp"):
        inside = [low <= truth_of_toy <= high for low, _, high in told[kind]["trials"]]
        rows.append((f"{kind}, two processes", f"{np.mean(inside):.1%}"))
    results.append(
        "noise_coverage",
        ("toy model, by", "95 % held"),
        rows,
        f"{options.trials} trials of 30 steps each.",
    )


if __name__ == "__main__":
    main()
