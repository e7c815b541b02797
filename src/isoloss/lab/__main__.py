"""`python -m isoloss.lab SWEEP.toml`: run a sweep where only numpy and torch are installed.

The same sweep as `isoloss sweep`, without the libraries the command line needs, from token ids that
may come in one file, to records that leave in one file. The form of the sweep's file is in
`isoloss.runs.sweep_file`.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

from isoloss.errors import InputError, IsolossError, UsageError
from isoloss.lab.eval_sets import parse_folders, prepare_eval_sets
from isoloss.lab.sweep import (
    SweepInterrupted,
    SweepResult,
    dry_run,
    given_tokens,
    prepare_tokens,
    run_sweep,
    tokens_there,
)
from isoloss.lab.tokens import TokenSet
from isoloss.runs import RunSpec, pack_records, read_sweep
from isoloss.runs.stored import RESULTS, check_results


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
    except OSError as error:
        print(f"error: {error.filename or 'system'}: {error.strerror or error}", file=sys.stderr)
        return 1


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
        "--results",
        type=Path,
        help="the records in one file (default: that folder's name with .results.zip)",
    )
    parser.add_argument(
        "--tokens",
        type=Path,
        help="token ids: a folder, a .bin file or a packed set (default: made from the runs' "
        "corpus)",
    )
    parser.add_argument(
        "--eval-tokens",
        metavar="NAME=FOLDER",
        action="append",
        default=[],
        help="token ids of one of the runs' eval_corpora (default: made from it)",
    )
    parser.add_argument("--tokenizer", help="bytes or bpe:V (default: by the runs' vocabulary)")
    parser.add_argument(
        "--workers",
        type=int,
        help="processes (default: cores, or on a GPU as many as make it do more)",
    )
    parser.add_argument("--device", help="cpu, cuda or cuda:N (default: the GPU if there is one)")
    parser.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        help="of products of matrices (default: the faster of what the device has)",
    )
    parser.add_argument(
        "--checkpoint-seconds", type=float, default=20.0, help="most work a kill may cost a run"
    )
    parser.add_argument(
        "--noise-every", type=int, default=0, help="measure the gradient noise at so many steps"
    )
    parser.add_argument("--dry-run", action="store_true", help="show what would be trained")
    return parser


def _sweep(options: argparse.Namespace) -> int:
    if options.workers is not None and options.workers < 1:
        raise UsageError(f"--workers is {options.workers}; at least one is needed")
    specs = read_sweep(options.sweep)
    folder = options.out or options.sweep.with_suffix("")
    if options.out is None and folder == options.sweep:
        raise InputError(f"{options.sweep} has no suffix to leave out; give a folder with --out")
    results = options.results or folder.with_name(folder.name + RESULTS)
    check_results(results)
    if options.dry_run:
        found = tokens_there(specs, folder, given=options.tokens, tokenizer=options.tokenizer)
        there = found.folder if found else None
        print("\n".join(dry_run(specs, there, folder, workers=options.workers)))
        return 0
    if options.tokens is not None:
        tokens = given_tokens(options.tokens, folder)
    else:
        tokens = prepare_tokens(specs, folder, tokenizer=options.tokenizer)
    try:
        result = _run(specs, tokens, folder, options)
    except (IsolossError, KeyboardInterrupt):
        with suppress(IsolossError):  # what there is; the first trouble is the one to tell
            pack_records(folder, results)
        raise
    print(f"{result.summary()}; records in {folder}", flush=True)
    pack_records(folder, results)
    print(f"packed in {results}")
    return 0 if result.complete else 1


def _run(
    specs: Sequence[RunSpec], tokens: TokenSet, folder: Path, options: argparse.Namespace
) -> SweepResult:
    given = parse_folders(options.eval_tokens)
    others = prepare_eval_sets(specs, tokens, folder, given=given)
    return run_sweep(
        specs,
        tokens.folder,
        folder,
        workers=options.workers,
        checkpoint_seconds=options.checkpoint_seconds,
        noise_every=options.noise_every,
        eval_sets={name: other.folder for name, other in others.items()},
        engine={
            name: value
            for name in ("device", "precision")
            if (value := getattr(options, name)) is not None
        },
    )


def _stop(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)  # as Ctrl-C, so that the display is closed properly
    sys.exit(main())
