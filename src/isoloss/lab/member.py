"""`torchrun ... -m isoloss.lab.member RUN.toml`: one of the processes that train a run together.

`isoloss train --nproc` starts it. Where the processes are on several machines, start it there by
torchrun; the records, with their checkpoints, and the tokens are then in folders that all see:

    torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint HOST:29400 \\
        -m isoloss.lab.member RUN.toml --out records --tokens tokens --parallel fsdp

Only numpy and torch are needed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from isoloss.errors import InputError, IsolossError
from isoloss.lab.processes.child import Send, listen, pass_on_warnings, take_over_stdout

_LINES_EVERY = 10.0  # seconds between lines of progress where no program reads them


def main(arguments: list[str] | None = None) -> int:
    """Train as one process of a team; 0 when the run is finished, 1 when not or on bad input."""
    options = _parser().parse_args(arguments)
    tell: Send = _Talk()
    if options.job:
        tell = take_over_stdout()
        listen(lambda message: None, status=1)  # there are none; torchrun ends the others
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one that started all
    try:
        return _train(json.loads(options.job) if options.job else _job(options), tell)
    except Exception as error:
        text = " ".join(str(error).split())[:1000] or type(error).__name__
        said = isinstance(error, IsolossError)
        reason = text if said else f"{type(error).__name__}: {text}"
        tell(event="failed", said=said, reason=reason)
        sys.stderr.flush()
        # At once: leaving in order may wait for what others no longer send.
        os._exit(1)


def _train(job: dict[str, Any], tell: Send) -> int:
    import torch

    from isoloss.lab.engine import Engine
    from isoloss.lab.parallel.team import join
    from isoloss.lab.tokens import load_tokens
    from isoloss.lab.train import Progress, train
    from isoloss.runs import RunSpec

    torch.set_num_threads(job["threads"])

    def report(progress: Progress) -> None:
        tell(event="progress", **asdict(progress))

    with join(job["kind"]) as team:
        if team.leads:
            pass_on_warnings(tell)
        spec, folder = RunSpec.from_dict(job["spec"]), Path(job["folder"])
        others = {name: load_tokens(place) for name, place in job["eval_sets"].items()}
        end = train(
            spec,
            load_tokens(Path(job["tokens"])),
            folder,
            on_progress=report if team.leads else None,
            checkpoint_seconds=job["checkpoint_seconds"],
            team=team,
            eval_sets=others,
            engine=Engine(**job.get("engine", {})),
            noise_every=job["noise_every"],
            keep=job.get("keep", ()),
        )
        if team.leads:
            record = folder / f"{spec.run_id}.jsonl"
            tell(event="ended", status=end.status, loss=end.loss, record=str(record))
    # A diverged run is done, and torchrun holds every status but 0 for a crash.
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="torchrun ... -m isoloss.lab.member",
        description="Train one run as one of the processes that torchrun has started.",
    )
    parser.add_argument("run", type=Path, nargs="?", help="a TOML file that lists one run")
    parser.add_argument(
        "--out", type=Path, help="folder of the record (default: the file's name without .toml)"
    )
    parser.add_argument(
        "--tokens", type=Path, help="a folder of token ids (default: `tokens` beside the record)"
    )
    parser.add_argument(
        "--eval-tokens",
        metavar="NAME=FOLDER",
        action="append",
        default=[],
        help="token ids of each of the run's eval_corpora",
    )
    parser.add_argument(
        "--parallel", choices=("ddp", "fsdp"), default="ddp", help="who holds the model: all, parts"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of each process")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), help="default: measured")
    parser.add_argument(
        "--checkpoint-seconds", type=float, default=20.0, help="most work a kill may cost"
    )
    parser.add_argument(
        "--noise-every", type=int, default=0, help="measure the gradient noise at so many steps"
    )
    parser.add_argument("--job", help=argparse.SUPPRESS)  # all of it in JSON, from `launch`
    return parser


def _job(options: argparse.Namespace) -> dict[str, Any]:
    from isoloss.lab.eval_sets import parse_folders
    from isoloss.runs import read_sweep

    if options.run is None:
        raise InputError("no run is given: name the TOML file that lists it")
    specs = read_sweep(options.run)
    folder = options.out or options.run.with_suffix("")
    if len(specs) != 1:
        raise InputError(f"{options.run} lists {len(specs)} runs; a team trains one")
    if folder == options.run:
        raise InputError(f"{options.run} has no suffix to leave out; give a folder with --out")
    return {
        "spec": specs[0].to_dict(),
        "tokens": str(options.tokens or folder / "tokens"),
        "folder": str(folder),
        "kind": options.parallel,
        "threads": options.threads,
        "checkpoint_seconds": options.checkpoint_seconds,
        "noise_every": options.noise_every,
        "eval_sets": parse_folders(options.eval_tokens) if options.eval_tokens else {},
        "engine": {"precision": options.precision} if options.precision else {},
    }


class _Talk:
    """Tell a person: the result on standard output, all else on standard error."""

    def __init__(self) -> None:
        self._told = -math.inf

    def __call__(self, **event: Any) -> None:
        kind = event["event"]
        if kind == "ended":
            said = f"{event['status']}: loss {event['loss']:.4f} nats per token"
            print(f"{said}; record: {event['record']}", flush=True)
        elif kind == "failed":
            print(f"error: {event['reason']}", file=sys.stderr)
        elif kind == "note":
            print(f"warning: {event['text']}", file=sys.stderr)
        elif time.monotonic() - self._told > _LINES_EVERY or event["step"] == event["steps"]:
            self._told = time.monotonic()
            line = f"training, {event['step']} of {event['steps']} steps, loss {event['loss']:.3f}"
            print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
