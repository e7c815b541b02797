"""One trunk with cool-downs against separate cosine runs: is it the same loss for half the FLOPs?

Six token counts, each 1.5 times the one before, on real text; 18 seeds.

- Separate: for every count a cosine to a tenth of its peak, the fall of Hoffmann et al. 2022.
- Trunk: one run at a constant rate, left before the last fifth of every count to cool down to zero
  by one minus a square root, as Hagele et al. 2024 do.

Both warm up for as many steps, and see the same batches from the same first weights for one seed.
Rates are tuned on a seed of its own, on one grid, each next a root of two above the last, widened
until the lowest loss has a neighbour on both sides; the vertex of a parabola through these three
is the rate. The cosine's is tuned at the shortest and at the longest count, and between them is
their geometric interpolation, so that every cosine has the rate that is best for it. A trunk has
one rate for all its counts: its parabola goes through the mean log loss of its two ends.

Equivalence is held to be shown where both of two one-sided t tests reject that the mean log loss of
the trunk lies 0.5 % or more from that of the cosine, above and below; that is, where the interval
lies within 0.5 %. The number of seeds was chosen in three looks, 3, 6 and 18, each after the one
before had shown too wide an interval; so the tests are at a third of 5 %, and the interval is one
of 96.7 %. **The claim** is that of the mean over all counts, one number for each seed, so its
standard error is over seeds. Beside it stands the same test for each count alone. FLOPs are those
of the records: a branch counts what it did itself, the trunk is added. What tuning took stands in
the file of all losses.

Leaves a table and every loss in `benchmarks/results/`, and `docs/figures/trunk_cooldown.svg`.
Run it again to go on after a stop; records stay in the folder given.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import _results as results
import numpy as np
from numpy.typing import NDArray
from scipy import stats

from isoloss.counting import Shape, count_params
from isoloss.figures import COLOURS, house_style, save_figure
from isoloss.lab.sweep import run_sweep
from isoloss.lab.tokens import prepare
from isoloss.runs import Run, RunSpec, Schedule, cooldown_runs, read_record, with_trunks

SHAPE = Shape(n_layer=3, d_model=32, n_heads=2, vocab=256, n_ctx=128)
COUNTS = tuple(round(5e5 * 1.5**k) for k in range(6))
SEEDS, TUNING_SEED = tuple(range(18)), 100
WARMUP_STEPS, COOLDOWN, COSINE_FINAL = 50, 0.2, 0.1
FIRST_RATES = {"cosine": (0, 1, 2, 3), "trunk": (-2, -1, 0, 1)}  # in GRID's steps
LOOKS = 3
MARGIN, LEVEL = 0.005, 0.05 / LOOKS
INTERVAL = f"{1 - 2 * LEVEL:.1%} interval"
FIGURE = Path(__file__).resolve().parents[1] / "docs" / "figures" / "trunk_cooldown.svg"

Array = NDArray[np.float64]
Train = Callable[[Iterable[RunSpec]], dict[str, Run]]


def grid(step: int) -> float:
    """The learning rates that are tried."""
    return float(0.008 * 2 ** (step / 2))


def base(corpus: str) -> RunSpec:
    """What all runs share."""
    return RunSpec(
        SHAPE,
        tokens=COUNTS[-1],
        batch=1024,
        lr=grid(0),
        schedule=Schedule(warmup_steps=WARMUP_STEPS, final=COSINE_FINAL),
        corpus=corpus,
        eval_points=1,
    )


def cosines(spec: RunSpec, counts: Sequence[int], rates: Sequence[float]) -> list[RunSpec]:
    return [
        replace(spec, tokens=count, lr=rate, group="cosine")
        for count, rate in zip(counts, rates, strict=True)
    ]


def branches(spec: RunSpec, counts: Sequence[int], rate: float) -> list[RunSpec]:
    one = replace(spec, lr=rate, group="cool-down")
    return list(cooldown_runs(one, counts, cooldown=COOLDOWN, kind="wsd_sqrt", final=0.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("demo/trunk_cooldown"))
    parser.add_argument("--corpus", default="python-stdlib")
    parser.add_argument("--workers", type=int)
    options = parser.parse_args()
    tokens = prepare(options.corpus, options.folder / "tokens")
    runs = options.folder / "runs"

    def train(specs: Iterable[RunSpec]) -> dict[str, Run]:
        """The records of some runs, by run_id, and of the trunks that they leave."""
        wanted = with_trunks(specs)
        run_sweep(wanted, tokens.folder, runs, workers=options.workers).check()
        return {spec.run_id: read_record(runs / f"{spec.run_id}.jsonl") for spec in wanted}

    spec = base(tokens.name)
    rates, rate, scans, tuned = tune(replace(spec, seed=TUNING_SEED), train)
    seeds = [replace(spec, seed=seed) for seed in SEEDS]
    apart = [cosines(one, COUNTS, rates) for one in seeds]
    shared = [branches(one, COUNTS, rate) for one in seeds]
    done = train(one for specs in (*apart, *shared) for one in specs)
    cosine = np.array([[final(done, one) for one in specs] for specs in apart])
    trunk = np.array([[final(done, one) for one in specs] for specs in shared])
    note = f"Corpus {tokens.name}, {len(tokens.train):,} training tokens, sha256 {tokens.hash}."
    report(cosine, trunk, rates, rate, (cost(done, apart), cost(done, shared)), scans, note)
    write_csv([*tuned, *(one for specs in (*apart, *shared) for one in specs)], train)
    draw(cosine, trunk)


def tune(
    spec: RunSpec, train: Train
) -> tuple[list[float], float, dict[str, dict[int, float]], list[RunSpec]]:
    """The cosine's rate at every count, the trunk's rate, the scans, and the runs they took."""
    ends, scans = (COUNTS[0], COUNTS[-1]), {}
    taken: dict[str, RunSpec] = {}

    def of_cosine(count: int) -> Callable[[int], list[RunSpec]]:
        return lambda step: cosines(spec, [count], [grid(step)])

    makers = {f"cosine, {count:,} tokens": of_cosine(count) for count in ends}
    makers["trunk, mean of both"] = lambda step: branches(spec, ends, grid(step))
    best = []
    # The first look at all of them at once, so that no worker waits.
    train([s for name, make in makers.items() for k in first_steps(name) for s in make(k)])
    for name, make in makers.items():
        scan: dict[int, float] = {}
        wanted = list(first_steps(name))
        while wanted:
            made = {step: make(step) for step in wanted}
            done = train([one for specs in made.values() for one in specs])
            for step, specs in made.items():
                scan[step] = float(np.mean([np.log(final(done, one)) for one in specs]))
                taken |= {one.run_id: one for one in specs}
            lowest = min(scan, key=scan.__getitem__)
            wanted = [step for step in (lowest - 1, lowest + 1) if step not in scan]
        scans[name] = dict(sorted(scan.items()))
        best.append(grid(0) * 2 ** (vertex(scan, lowest) / 2))
    along = np.interp(np.log(COUNTS), np.log(ends), np.log(best[:2]))
    return np.exp(along).tolist(), best[2], scans, list(taken.values())


def first_steps(name: str) -> tuple[int, ...]:
    return FIRST_RATES[name.partition(",")[0]]


def vertex(scan: dict[int, float], lowest: int) -> float:
    """The lowest point of the parabola through the lowest of a scan and its two neighbours."""
    before, here, after = (scan[lowest + side] for side in (-1, 0, 1))
    return lowest + 0.5 * (before - after) / (before - 2 * here + after)


def final(done: dict[str, Run], spec: RunSpec) -> float:
    end = done[spec.run_id].end
    assert end is not None
    return end.loss


def cost(done: dict[str, Run], groups: Sequence[Sequence[RunSpec]]) -> float:
    """Training FLOPs that the records of some runs and of their trunks say were spent."""
    wanted = with_trunks(one for specs in groups for one in specs)
    found = [done[one.run_id] for one in wanted]
    return sum(run.tokens_paid * run.flops_per_token["exact"] for run in found)


def equivalence(differences: Array) -> tuple[float, float, float, float]:
    """Mean, the ends of its interval, and the larger p of the two one-sided tests."""
    mean, se = float(differences.mean()), float(stats.sem(differences))
    freedom = len(differences) - 1
    reach = se * float(stats.t.ppf(1 - LEVEL, freedom))
    above = stats.ttest_1samp(differences, -MARGIN, alternative="greater").pvalue
    below = stats.ttest_1samp(differences, MARGIN, alternative="less").pvalue
    return mean, mean - reach, mean + reach, float(max(above, below))


def report(
    cosine: Array,
    trunk: Array,
    rates: Sequence[float],
    rate: float,
    flops: tuple[float, float],
    scans: dict[str, dict[int, float]],
    note: str,
) -> None:
    """The table: a row for each count, and the claim."""
    differences = np.log(trunk / cosine)  # (seeds, counts)
    rows = [
        row(f"{count:,}", rates[k], cosine[:, k], trunk[:, k], differences[:, k])
        for k, count in enumerate(COUNTS)
    ]
    pooled = differences.mean(axis=1)
    means = [np.exp(np.log(losses).mean(axis=1)) for losses in (cosine, trunk)]
    rows.append(row("all: the claim", None, *means, pooled))
    ratio = flops[1] / flops[0]
    told = "; ".join(
        f"{name} " + ", ".join(f"{grid(k):.4g}: {np.exp(value):.4f}" for k, value in scan.items())
        for name, scan in scans.items()
    )
    results.append(
        "trunk_cooldown",
        (
            "tokens", "cosine's rate", "cosine", "trunk", "difference", INTERVAL, "p",
            "within 0.5 %",
        ),
        rows,
        f"Trunk's rate {rate:.4g}, {rate / rates[0]:.2f} to {rate / rates[-1]:.2f} of the "
        f"cosine's. FLOPs of the trunks with their cool-downs over those of the cosines: "
        f"{flops[1]:.3g} / {flops[0]:.3g} = {ratio:.1%}.",
        f"Losses are geometric means of {len(SEEDS)} seeds in nats, differences those of ln L.",
        f"Tuning, loss at each rate: {told}.",
        f"{SHAPE.n_layer} layers, d_model {SHAPE.d_model}, {count_params(SHAPE):,} parameters, "
        f"n_ctx {SHAPE.n_ctx}; warm-up {WARMUP_STEPS} steps. " + note,
    )  # fmt: skip


def row(
    what: str, rate: float | None, cosine: Array, trunk: Array, differences: Array
) -> list[str]:
    mean, low, high, p = equivalence(differences)
    return [
        what,
        "" if rate is None else f"{rate:.4g}",
        f"{np.exp(np.log(cosine).mean()):.4f}",
        f"{np.exp(np.log(trunk).mean()):.4f}",
        f"{100 * mean:+.2f} %",
        f"{100 * low:+.2f} to {100 * high:+.2f} %",
        f"{p:.3f}",
        "yes" if p < LEVEL else "not shown",
    ]


def write_csv(specs: Sequence[RunSpec], train: Train) -> None:
    """Every loss, tuning and trunks included."""
    wanted = with_trunks(specs)
    done = train(wanted)
    path = results.FOLDER / "trunk_cooldown.csv"
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("group", "schedule", "tokens", "tokens_paid", "lr", "seed", "loss"))
        for one in wanted:
            paid = done[one.run_id].tokens_paid
            writer.writerow(
                (
                    one.group, one.schedule.kind, one.tokens_seen, paid,
                    f"{one.lr:.6g}", one.seed, final(done, one),
                )
            )  # fmt: skip
    temporary.replace(path)


def draw(cosine: Array, trunk: Array) -> None:
    """The difference at every count: each seed a point, the mean with its interval."""
    from matplotlib.figure import Figure

    differences = 100 * np.log(trunk / cosine)
    with house_style():
        ax = Figure(figsize=(5.2, 3.0), layout="constrained").subplots()
        ax.axhspan(-100 * MARGIN, 100 * MARGIN, color=COLOURS["grid"], lw=0)
        ax.axhline(0, color=COLOURS["rule"], lw=0.8)
        for seed, values in enumerate(differences):
            ax.plot(
                COUNTS, values, ".", color=COLOURS["muted"], label="a seed" if seed == 0 else None
            )
        found = [equivalence(column / 100) for column in differences.T]
        middle = np.array([100 * one[0] for one in found])
        ends = np.array([[100 * (m - low), 100 * (high - m)] for m, low, high, _ in found]).T
        ax.errorbar(
            COUNTS,
            middle,
            ends,
            fmt="o",
            color=COLOURS["run"],
            capsize=3,
            label=f"mean, {INTERVAL}",
        )
        ax.set_xscale("log")
        ax.set_xticks(COUNTS, [f"{count / 1e6:.2g}M" for count in COUNTS])
        ax.minorticks_off()
        ax.set_xlabel("training tokens")
        ax.set_ylabel("trunk over cosine, % of loss")
        ax.legend(frameon=False)
    FIGURE.parent.mkdir(exist_ok=True)
    save_figure(ax, FIGURE)


if __name__ == "__main__":
    main()
