"""`isoloss train`: one run, from a TOML file to its record."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from isoloss.cli.options import Count, Json
from isoloss.cli.output import emit_json, plain
from isoloss.cli.progress import progress
from isoloss.errors import InputError
from isoloss.units import format_number

if TYPE_CHECKING:
    from isoloss.lab.train import Progress


def train(
    spec_file: Annotated[Path, Parameter(help="A TOML file that lists one run.")],
    *,
    out: Annotated[
        Path | None, Parameter(help="Folder of the record; the file's name without .toml.")
    ] = None,
    tokens: Annotated[
        Path | None, Parameter(help="A folder of token ids; made from the run's corpus without it.")
    ] = None,
    threads: Annotated[
        Count, Parameter(help="Threads; another number may change last digits.")
    ] = 1,
    json: Json = False,
) -> int:
    """Train one run and leave its record.

    The file has the form of a sweep with one run in it. A run that is finished is not run again,
    and one that was stopped goes on from its checkpoint, bit for bit. A run whose loss becomes
    non-finite ends as diverged, with exit code 1.
    """
    from isoloss.runs import read_sweep

    specs = read_sweep(spec_file)
    folder = out or spec_file.with_suffix("")
    if len(specs) != 1:
        raise InputError(f"{spec_file} lists {len(specs)} runs; train them with `isoloss sweep`")
    if folder == spec_file:
        raise InputError(f"{spec_file} has no suffix to leave out; give a folder with --out")
    os.environ["OMP_NUM_THREADS"] = str(threads)  # some libraries read it only when loaded
    import torch

    from isoloss.lab.sweep import prepare_tokens
    from isoloss.lab.tokens import load_tokens
    from isoloss.lab.train import train as train_run

    torch.set_num_threads(threads)
    (spec,) = specs
    if tokens is not None:
        token_set = load_tokens(tokens)
    else:
        with progress() as show:
            token_set = prepare_tokens(specs, folder, progress=show)
    with progress("steps") as show:

        def on_progress(now: Progress) -> None:
            show("training", now.step, now.steps, f"loss {now.loss:.3f}")

        end = train_run(spec, token_set, folder, on_progress=on_progress)
    record = folder / f"{spec.run_id}.jsonl"
    if json:
        emit_json({"run": spec.run_id, "record": record, "end": plain(end)})
    else:
        print(
            f"{end.status}: loss {end.loss:.4f} (standard error {end.se:.4f}) nats per token after "
            f"{end.tokens:,} tokens, {format_number(end.tokens_per_second)} tokens/s"
        )
        print(f"record: {record}")
    return 0 if end.status == "finished" else 1
