"""`isoloss train`: one run, from a TOML file to its record."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from isoloss.cli.options import Json
from isoloss.cli.output import emit_json, plain
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
    threads: Annotated[int, Parameter(help="Threads; another number may change last digits.")] = 1,
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
    if threads < 1:
        raise InputError(f"threads is {threads}; at least one is needed")
    os.environ["OMP_NUM_THREADS"] = str(threads)  # read when torch is loaded, just below
    from isoloss.lab.sweep import prepare_tokens
    from isoloss.lab.tokens import load_tokens
    from isoloss.lab.train import train as train_run

    (spec,) = specs
    token_set = load_tokens(tokens) if tokens is not None else prepare_tokens(specs, folder)
    with _display(spec.steps) as on_progress:
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


@contextmanager
def _display(steps: int) -> Iterator[Callable[[Progress], None]]:
    """A bar on a terminal; elsewhere a line now and then."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        told = [0]

        def line(now: Progress) -> None:
            if now.step * 10 // steps > told[0] or now.step == steps:
                told[0] = now.step * 10 // steps
                print(f"step {now.step} of {steps}, loss {now.loss:.3f}", file=sys.stderr)

        yield line
        return
    with Bars(
        BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn(), console=console
    ) as bars:
        task = bars.add_task("starting", total=steps)

        def bar(now: Progress) -> None:
            speed = format_number(now.tokens_per_second)
            bars.update(
                task, completed=now.step, description=f"loss {now.loss:.3f}, {speed} tokens/s"
            )

        yield bar
