"""What `import isoloss` costs over numpy, and how long `isoloss plan --flops 1e21` takes.

Whole processes, started in turn with their peer: `import numpy` for the import, `python -c pass`
for the command. Medians over the pairs.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

import _results as results

PAIRS = 15


def seconds(*words: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    rows = []
    for name, ours, peer_name, peer in (
        ("import isoloss", ("-c", "import isoloss"), "import numpy", ("-c", "import numpy")),
        (
            "isoloss plan --flops 1e21", ("-m", "isoloss", "plan", "--flops", "1e21"),
            "python -c pass", ("-c", "pass"),
        ),
    ):  # fmt: skip
        seconds(*ours), seconds(*peer)
        pairs = [(seconds(*ours), seconds(*peer)) for _ in range(PAIRS)]
        mine, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
        rows.append(
            (
                name, f"{1e3 * mine:.0f}", peer_name, f"{1e3 * theirs:.0f}",
                f"{1e3 * statistics.median(a - b for a, b in pairs):.0f}",
                f"{statistics.median(a / b for a, b in pairs):.2f}",
            )
        )  # fmt: skip
    results.append(
        "startup", ("process", "ms", "peer", "ms", "difference, ms", "ratio"), rows,
        f"Medians of {PAIRS} pairs of whole processes, in turn.",
    )  # fmt: skip


if __name__ == "__main__":
    main()
