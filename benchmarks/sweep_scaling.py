"""How much faster two workers train the demo sweep than one.

The peer is the same sweep with one worker, in the same run, on the same tokens. `--groups` keeps
only some of the sweep's groups (ladder, seeds, isoflop-1, ...), for a shorter measurement; the
table says which were trained. The floor is a ratio of two.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import _results as results

from isoloss.experiments.demo.story import default_design
from isoloss.lab.sweep import run_sweep
from isoloss.lab.tokens import prepare


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", nargs="*", help="default: the whole sweep")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tokens = prepare("python-stdlib", folder / "tokens")
        specs = [
            spec
            for spec in default_design(tokens, seed=0).sweep()
            if options.groups is None or spec.group in options.groups
        ]
        seconds = {}
        for workers in (2, 1):
            started = time.perf_counter()
            run_sweep(specs, tokens.folder, folder / str(workers), workers=workers).check()
            seconds[workers] = time.perf_counter() - started
    ratio = f"{seconds[1] / seconds[2]:.2f}"
    results.append(
        "sweep_scaling",
        ("groups", "runs", "FLOPs", "one worker, s", "two workers, s", "ratio"),
        [
            (
                ", ".join(options.groups) if options.groups else "all", len(specs),
                f"{sum(s.flops() for s in specs):.2e}", f"{seconds[1]:.0f}",
                f"{seconds[2]:.0f}", ratio,
            )
        ],
        "Wall time of `run_sweep`, the start of its workers included.",
    )  # fmt: skip


if __name__ == "__main__":
    main()
