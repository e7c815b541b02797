"""`python -m isoloss.lab SWEEP.toml`: run a sweep where only numpy and torch are installed.

The same sweep as `isoloss sweep`, without the libraries the command line needs. The form of the
file is in `isoloss.runs.sweep_file`.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType

from isoloss.errors import InputError, IsolossError
from isoloss.lab.eval_sets import parse_folders, prepare_eval_sets
from isoloss.lab.sweep import (
    SweepInterrupted,
    dry_run,
    prepare_tokens,
    run_sweep,
    tokens_there,
)
from isoloss.lab.tokens import load_tokens
from isoloss.runs import read_sweep


def main(arguments: list[str] | None = None) -> int:
    """Run the sweep; 0 when every run is done, 1 when not or on bad input, 130 on Ctrl-C."""
    options = _parser().parse_args(arguments)
    try:
        return _sweep(options)
    except SweepInterrupted as stop:
        print(stop, file=sys.stderr)
        return stop.exit_code
    except KeyboardInterrupt:
        print("interrupted; run the same command again to resume", file=sys.stderr)
        return SweepInterrupted.exit_code
    except IsolossError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m isoloss.lab",
        description="Train the runs of a sweep, each once; the same command again resumes.",
    )
    parser.add_argument("sweep", type=Path, help="the sweep, a TOML file")
    parser.add_argument(
        "--out", type=Path, help="folder of the records (default: the file's name without .toml)"
    )
    parser.add_argument(
        "--tokens", type=Path, help="a folder of token ids (default: made from the runs' corpus)"
    )
    parser.add_argument(
        "--eval-tokens",
        metavar="NAME=FOLDER",
        action="append",
        default=[],
        help="token ids of one of the runs' eval_corpora (default: made from it)",
    )
    parser.add_argument("--tokenizer", help="bytes or bpe:V (default: by the runs' vocabulary)")
    parser.add_argument("--workers", type=int, help="processes, one thread each (default: cores)")
    parser.add_argument(
        "--checkpoint-seconds", type=float, default=20.0, help="most work a kill may cost a run"
    )
    parser.add_argument("--dry-run", action="store_true", help="show what would be trained")
    return parser


def _sweep(options: argparse.Namespace) -> int:
    specs = read_sweep(options.sweep)
    folder = options.out or options.sweep.with_suffix("")
    if options.out is None and folder == options.sweep:
        raise InputError(f"{options.sweep} has no suffix to leave out; give a folder with --out")
    if options.dry_run:
        there = options.tokens
        if there is None and (found := tokens_there(specs, folder, tokenizer=options.tokenizer)):
            there = found.folder
        print("\n".join(dry_run(specs, there, folder, workers=options.workers)))
        return 0
    if options.tokens is not None:
        tokens = load_tokens(options.tokens)
    else:
        tokens = prepare_tokens(specs, folder, tokenizer=options.tokenizer)
    given = parse_folders(options.eval_tokens)
    others = prepare_eval_sets(specs, tokens, folder, given=given)
    result = run_sweep(
        specs,
        tokens.folder,
        folder,
        workers=options.workers,
        checkpoint_seconds=options.checkpoint_seconds,
        eval_sets={name: other.folder for name, other in others.items()},
    )
    print(f"{result.summary()}; records in {folder}")
    return 0 if result.complete else 1


def _stop(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)  # as Ctrl-C, so that the display is closed properly
    sys.exit(main())
