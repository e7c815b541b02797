"""Is the demo run where the laws are visible? Learning rates, slopes in tokens, size against seeds.

Three tables, appended to `benchmarks/results/demo_regime.md`, with every loss in
`benchmarks/results/demo_regime.csv`:

1. the loss at learning rates two-fold apart, at the smallest, a middle, the largest and the
   forecast size, beside the loss at the demo's own rule (to be within 1 % of the best);
2. log-slopes of the loss in tokens at two widths (not to steepen by more than a fifth);
3. the effect of size beside the spread between seeds (to be at least eight of its deviations).

Run it again to go on after a stop; records stay in the folder given.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import replace
from pathlib import Path

import _results as results
import numpy as np

from isoloss.counting import Shape, count_params
from isoloss.experiments.demo.regime import FORECAST_SHAPES, SWEEP_SHAPES, Design
from isoloss.experiments.demo.story import default_design
from isoloss.lab.sweep import run_sweep
from isoloss.lab.tokens import prepare
from isoloss.runs import RunSpec, read_record

SCANNED: tuple[tuple[str, Shape, float, tuple[float, ...]], ...] = (
    ("smallest", SWEEP_SHAPES[0], 2.0e6, (0.008, 0.016, 0.032, 0.064, 0.128)),
    ("middle", SWEEP_SHAPES[5], 1.55e6, (0.004, 0.008, 0.016, 0.032)),
    ("largest", SWEEP_SHAPES[9], 0.79e6, (0.002, 0.004, 0.008, 0.016)),
    ("forecast", FORECAST_SHAPES[6], 6.2e6, (0.004, 0.008, 0.016)),
)
SLOPED = (SWEEP_SHAPES[2], SWEEP_SHAPES[6])
SLOPE_TOKENS = tuple(5.5e5 * 2**k for k in range(4))
SEEDED = (SWEEP_SHAPES[0], SWEEP_SHAPES[8])
SEED_TOKENS, SEEDS = 6e5, 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("demo/regime"))
    parser.add_argument("--corpus", default="python-stdlib")
    parser.add_argument("--workers", type=int)
    options = parser.parse_args()
    tokens = prepare(options.corpus, options.folder / "tokens")
    design = default_design(tokens, seed=0)

    scans = [(name, scan(design, shape, d, rates)) for name, shape, d, rates in SCANNED]
    slopes = {
        shape: [
            replace(design.run(shape, d, "slope"), seed=seed)
            for d in SLOPE_TOKENS
            for seed in (0, 1)
        ]
        for shape in SLOPED
    }
    seeds = {
        shape: [replace(design.run(shape, SEED_TOKENS, "seeds"), seed=s) for s in range(SEEDS)]
        for shape in SEEDED
    }
    groups = (*(specs for _, specs in scans), *slopes.values(), *seeds.values())
    specs = {spec.run_id: spec for group in groups for spec in group}
    run_sweep(
        list(specs.values()), tokens.folder, options.folder / "runs", workers=options.workers
    ).check()
    losses = {
        run_id: read_record(options.folder / "runs" / f"{run_id}.jsonl").end.loss
        for run_id in specs
    }
    note = f"Corpus {tokens.name}, {len(tokens.train):,} training bytes, sha256 {tokens.hash}."
    learning_rates(scans, losses, note)
    token_slopes(slopes, losses, note)
    size_effect(seeds, losses, note)
    write_csv(list(specs.values()), losses)


def scan(design: Design, shape: Shape, tokens: float, rates: tuple[float, ...]) -> list[RunSpec]:
    """The demo's own run first, then the same at each rate."""
    own = design.run(shape, tokens, "rule")
    return [own, *(replace(own, lr=rate, group="scan") for rate in rates)]


def learning_rates(
    scans: list[tuple[str, list[RunSpec]]], losses: dict[str, float], note: str
) -> None:
    rows = []
    for name, specs in scans:
        found = [losses[spec.run_id] for spec in specs]
        best = int(np.nanargmin(found))
        own = specs[0]
        table = ", ".join(f"{s.lr:g}: {v:.4f}" for s, v in zip(specs[1:], found[1:], strict=True))
        rows.append(
            (
                f"{name} ({own.shape.n_layer}, {own.shape.d_model})", f"{own.tokens_seen:,}",
                f"{own.lr:g}", f"{found[0]:.4f}", f"{specs[best].lr:g}",
                f"{100 * (found[0] / found[best] - 1):.2f} %", table,
            )
        )  # fmt: skip
    header = ("size", "tokens", "rule's rate", "its loss", "best rate", "above best", "scan")
    results.append("demo_regime", header, rows, "Learning rates. " + note)


def token_slopes(slopes: dict[Shape, list[RunSpec]], losses: dict[str, float], note: str) -> None:
    rows = []
    for shape, specs in slopes.items():
        means = {
            d: np.mean([np.log(losses[s.run_id]) for s in specs if s.tokens_seen == d])
            for d in sorted({spec.tokens_seen for spec in specs})
        }
        slope = -np.diff(list(means.values())) / np.diff(np.log(list(means)))
        steepening = float(np.max(slope[1:] / slope[:-1])) - 1
        rows.append(
            (
                f"({shape.n_layer}, {shape.d_model})",
                ", ".join(f"{d:.2g}: {np.exp(mean):.4f}" for d, mean in means.items()),
                ", ".join(f"{s:.3f}" for s in slope),
                f"{100 * steepening:+.0f} %",
            )
        )
    header = ("(n_layer, d_model)", "loss at tokens", "-d ln L / d ln D", "most steepening")
    results.append("demo_regime", header, rows, "Slopes in tokens, means of two seeds. " + note)


def size_effect(seeds: dict[Shape, list[RunSpec]], losses: dict[str, float], note: str) -> None:
    logs = {s: np.log([losses[spec.run_id] for spec in specs]) for s, specs in seeds.items()}
    small, large = logs
    deviation = float(np.sqrt(np.mean([np.var(v, ddof=1) for v in logs.values()])))
    effect = float(logs[small].mean() - logs[large].mean())
    row = (
        f"n {count_params(small):,} to {count_params(large):,}", f"{SEED_TOKENS:.2g}", SEEDS,
        f"{100 * deviation:.2f} %", f"{100 * effect:.1f} %", f"{effect / deviation:.0f}",
    )  # fmt: skip
    header = ("sizes", "tokens", "seeds", "seed deviation of ln L", "effect on ln L", "ratio")
    results.append("demo_regime", header, [row], "Size against seeds. " + note)


def write_csv(specs: list[RunSpec], losses: dict[str, float]) -> None:
    path = results.FOLDER / "demo_regime.csv"
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            ("group", "n_layer", "d_model", "params", "tokens", "batch", "lr", "seed", "loss")
        )
        for s in specs:
            writer.writerow(
                (
                    s.group, s.shape.n_layer, s.shape.d_model, count_params(s.shape),
                    s.tokens_seen, s.batch, s.lr, s.seed, losses[s.run_id],
                )
            )  # fmt: skip
    temporary.replace(path)


if __name__ == "__main__":
    main()
