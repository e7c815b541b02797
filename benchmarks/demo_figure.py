"""The README's figure and table: what one demo measured.

Reads the demo in the folder given (and finishes it first if it was stopped), writes
`docs/figures/demo.svg`, and prints the table for the README.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import _results  # noqa: F401  (puts src on the path)
import numpy as np

from isoloss.experiments.demo import run_demo
from isoloss.figures import forecasts_and_outcomes, isoflop_curves, panels, save_figure
from isoloss.lab.tokens import load_tokens
from isoloss.runs import describe_machine
from isoloss.units import format_number

FIGURE = Path(__file__).resolve().parents[1] / "docs" / "figures" / "demo.svg"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("demo"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    result = run_demo(options.folder, seed=options.seed)
    left, right = panels(2)
    runs = result.runs
    isoflop_curves(result.isoflop, runs[np.char.startswith(runs.group, "isoflop")], ax=left)
    forecasts_and_outcomes(result.outcomes, ax=right)
    FIGURE.parent.mkdir(exist_ok=True)
    save_figure(left, FIGURE)

    tokens, machine = load_tokens(options.folder / "tokens"), describe_machine()
    print(f"Corpus {tokens.name}, sha256 {tokens.hash[:12]};", end=" ")
    print(f"{machine['cpu']}, {machine['cores']} cores.")
    print("\n| run | compute | forecast, 90 % | measured | |\n|---|---|---|---|---|")
    for outcome in result.outcomes:
        f = outcome.forecast
        print(
            f"| {format_number(f.n)} parameters, {format_number(f.d)} tokens | {f.far:.1f}x "
            f"| {f.mid:.3f} [{f.low:.3f}, {f.high:.3f}] | {outcome.loss:.3f} "
            f"| {'hit' if outcome.hit else 'miss'} |"
        )


if __name__ == "__main__":
    main()
