"""Do the demo's forecasts hold? Forecast and check, repeated over seeds and corpora.

Every repetition is a whole demo: its own sweep from its own seed, a forecast written down, the
forecast runs trained, the outcome read. The tally counts how often the 90 % interval held the
measured loss, and how far off the forecast was; nothing is left out. Resumable: run it again.
"""

from __future__ import annotations

import argparse
import csv
import math
from pathlib import Path

import _results as results
import numpy as np

from isoloss.experiments.demo import DemoResult, run_demo

CORPORA = ("python-stdlib", "sotu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("demo/tally"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--corpora", nargs="+", default=list(CORPORA))
    options = parser.parse_args()
    found: list[tuple[str, int, DemoResult]] = []
    for seed in range(options.seeds):
        for corpus in options.corpora:
            folder = options.folder / f"{Path(corpus).name}-{seed}"
            print(f"== {corpus}, seed {seed}", flush=True)
            found.append((Path(corpus).name, seed, run_demo(folder, corpus=corpus, seed=seed)))
    write_csv(found)
    tally(found)


def tally(found: list[tuple[str, int, DemoResult]]) -> None:
    rows = []
    for corpus in sorted({name for name, _, _ in found}):
        for kind in ("forecast", "held-out"):
            outcomes = [
                outcome
                for name, _, result in found
                if name == corpus
                for outcome in result.outcomes
                if outcome.forecast.name == kind
            ]
            errors = np.array([math.expm1(outcome.error) for outcome in outcomes])
            widths = [(o.forecast.high - o.forecast.low) / 2 / o.forecast.mid for o in outcomes]
            hits = sum(outcome.hit for outcome in outcomes)
            rows.append(
                (
                    corpus, kind, f"{np.mean([o.forecast.far for o in outcomes]):.1f}x",
                    f"{hits} of {len(outcomes)}", f"{100 * np.median(np.abs(errors)):.2f} %",
                    f"{100 * errors.mean():+.2f} %", f"{100 * np.median(widths):.2f} %",
                )
            )  # fmt: skip
    results.append(
        "demo_tally",
        ("corpus", "run", "beyond", "inside 90 %", "median error", "bias", "half-width"),
        rows,
        "Bias is forecast over measured loss, less one. Runs of one repetition share its sweep.",
    )


def write_csv(found: list[tuple[str, int, DemoResult]]) -> None:
    path = results.FOLDER / "demo_tally.csv"
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            ("corpus", "seed", "run", "n", "d", "c", "far", "low", "mid", "high", "loss", "hit")
        )
        for corpus, seed, result in found:
            for o in result.outcomes:
                f = o.forecast
                writer.writerow(
                    (
                        corpus, seed, f.name, f"{f.n:.0f}", f"{f.d:.0f}", f"{f.c:.6g}",
                        f"{f.far:.3f}", f"{f.low:.5f}", f"{f.mid:.5f}", f"{f.high:.5f}",
                        f"{o.loss:.5f}", int(o.hit),
                    )
                )  # fmt: skip
    temporary.replace(path)


if __name__ == "__main__":
    main()
