"""Trains runs one after another as one process of a team, for `test_parallel`.

Started by torchrun. The argument is JSON: `tokens`, and `jobs`, each with spec, folder, kind,
`keep`, `noise_every`, and `kill`: the step after which the second process kills itself, as a
machine that fails would, 0 for never. All is computed in the one plain way, so that only the
processes differ.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import isoloss.lab.train as trainer
from isoloss.errors import InputError
from isoloss.lab.engine import PLAIN
from isoloss.lab.parallel.team import Team, join
from isoloss.lab.tokens import load_tokens
from isoloss.runs import RunSpec


def die_at(step: int, team: Team) -> Callable[[trainer.Progress], None]:
    def look(progress: trainer.Progress) -> None:
        if team.rank == 1 and progress.step == step:
            os.kill(os.getpid(), signal.SIGKILL)

    return look


def do(job: dict[str, Any], tokens: Any, team: Team) -> None:
    folder = Path(job["folder"])
    try:
        trainer.train(
            RunSpec.from_dict(job["spec"]),
            tokens,
            folder,
            on_progress=die_at(job["kill"], team) if job["kill"] else None,
            checkpoint_seconds=0.0 if job["kill"] else 20.0,
            keep=job["keep"],
            noise_every=job["noise_every"],
            engine=PLAIN,
            team=team,
        )
    except InputError as error:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"refused-{team.rank}").write_text(str(error))


def main() -> None:
    told = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    trainer.PROGRESS_SECONDS = 0.0
    tokens = load_tokens(Path(told["tokens"]))
    with join("ddp") as joined:
        for job in told["jobs"]:
            do(job, tokens, replace(joined, kind=job["kind"]))


if __name__ == "__main__":
    main()
