"""The command line: each verb is a thin call of one public function.

    isoloss demo | corpus | count | train | sweep | fit | backtest | tune | compare | track | plan
            report | laws

Results go to stdout, talk to stderr; `--json` makes the result strict JSON. Exit codes: 0 good,
1 no usable result or bad input (one line, no traceback), 2 wrong usage, 3 the data do not
identify the answer, 130 interrupted. A verb's module is imported only when that verb runs.
"""

from __future__ import annotations

from collections.abc import Sequence


def main(words: Sequence[str] | None = None) -> None:
    """Run the command line (`sys.argv` where `words` is None) and exit with its code."""
    import sys

    from isoloss.cli.app import run

    sys.exit(run(words))


__all__ = ["main"]
