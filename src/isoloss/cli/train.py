"""`isoloss train`: one run, from a TOML file to its record."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from isoloss.cli.options import (
    Count,
    Device,
    EvalTokens,
    Json,
    NoiseEvery,
    Precision,
    engine_fields,
)
from isoloss.cli.output import emit_json, plain, say
from isoloss.cli.progress import Report, progress
from isoloss.errors import InputError, UsageError
from isoloss.units import format_number

if TYPE_CHECKING:
    from isoloss.lab.tokens import TokenSet
    from isoloss.lab.train import Progress
    from isoloss.runs import End, RunSpec


def train(
    spec_file: Annotated[Path, Parameter(help="A TOML file that lists one run.")],
    *,
    out: Annotated[
        Path | None, Parameter(help="Folder of the record; the file's name without .toml.")
    ] = None,
    tokens: Annotated[
        Path | None,
        Parameter(
            help="Token ids: a folder, a .bin file or a packed set; made from the corpus without."
        ),
    ] = None,
    eval_tokens: EvalTokens = None,
    threads: Annotated[
        Count, Parameter(help="Threads; another number may change last digits.")
    ] = 1,
    device: Device = None,
    precision: Precision = None,
    nproc: Annotated[
        Count, Parameter(help="Processes that train it together: a GPU, or --threads, for each.")
    ] = 1,
    parallel: Annotated[
        Literal["ddp", "fsdp"] | None,
        Parameter(help="What each process holds: all of the model (ddp, the default) or a part."),
    ] = None,
    noise_every: NoiseEvery = None,
    keep: Annotated[
        list[Count] | None,
        Parameter(help="A step whose state is kept, as RUN.stepN.npz; several, each with --keep."),
    ] = None,
    json: Json = False,
) -> int:
    """Train one run and leave its record.

    The file has the form of a sweep with one run in it. A run that is finished is not run again,
    and one that was stopped goes on from its checkpoint, bit for bit. A run whose loss becomes
    non-finite ends as diverged, with exit code 1.
    """
    from isoloss.runs import read_record, read_sweep

    specs = read_sweep(spec_file)
    folder = out or spec_file.with_suffix("")
    if len(specs) != 1:
        raise InputError(f"{spec_file} lists {len(specs)} runs; train them with `isoloss sweep`")
    if folder == spec_file:
        raise InputError(f"{spec_file} has no suffix to leave out; give a folder with --out")
    if "TORCHELASTIC_RUN_ID" in os.environ:
        raise UsageError("this is a process of torchrun: give it `-m isoloss.lab.member` instead")
    if device and nproc > 1:
        raise UsageError("--nproc gives each process a GPU where there are any; leave out --device")
    if parallel and nproc == 1:
        raise UsageError("--parallel says how processes share a run; give --nproc too")
    (spec,) = specs
    for name, steps in (("--noise-every", noise_every or 0), ("--keep", max(keep or [0]))):
        if steps > spec.steps:
            raise UsageError(f"{name} is {steps:,}, and the run ends after {spec.steps:,} steps")
    if nproc > 1:
        from isoloss.lab.parallel.rows import rows_each

        rows_each(spec, nproc)
    os.environ["OMP_NUM_THREADS"] = str(threads)  # some libraries read it only when loaded
    from isoloss.lab.eval_sets import parse_folders, prepare_eval_sets
    from isoloss.lab.sweep import given_tokens, prepare_tokens
    from isoloss.lab.tokens.watch import check_ids

    given = parse_folders(eval_tokens or ())
    if tokens is not None:
        token_set = given_tokens(tokens, folder)
    else:
        with progress() as show:
            token_set = prepare_tokens(specs, folder, progress=show)
    with progress() as show:
        others = prepare_eval_sets(specs, token_set, folder, given=given, progress=show)
    for text in (token_set, *others.values()):
        check_ids(text)
    record = folder / f"{spec.run_id}.jsonl"
    if record.exists() and read_record(record).ended:
        asked = " or ".join(
            name for name, given in (("--noise-every", noise_every), ("--keep", keep)) if given
        )
        told = f", {asked} neither: train it anew with --out" if asked else ""
        say(f"{spec.run_id} was trained before; nothing is left to do{told}")
    with progress("steps") as show:
        how: dict[str, Any] = {"engine": engine_fields(device, precision)}
        how |= {"noise_every": noise_every or 0, "keep": keep or []}
        if nproc == 1:
            end = _alone(spec, token_set, others, folder, threads, how, show)
        else:
            how |= {"processes": nproc, "kind": parallel or "ddp", "threads": threads}
            end = _together(spec, token_set, others, folder, how, show)
    if json:
        emit_json({"run": spec.run_id, "record": record, "end": plain(end)})
    else:
        print(
            f"{end.status}: loss {end.loss:.4f} (standard error {end.se:.4f}) nats per token after "
            f"{end.tokens:,} tokens, {format_number(end.tokens_per_second)} tokens/s"
        )
        for one in read_record(record).held_out[1:]:
            print(f"on {one.corpus}: loss {one.loss:.4f} (standard error {one.se:.4f})")
        if end.reason:
            print(f"ended at step {end.last or end.step:,}: {end.reason}")
        print(f"record: {record}")
    return 0 if end.status == "finished" else 1


def _alone(
    spec: RunSpec,
    tokens: TokenSet,
    others: Mapping[str, TokenSet],
    folder: Path,
    threads: int,
    how: dict[str, Any],
    show: Report,
) -> End:
    import torch

    from isoloss.lab.engine import Engine
    from isoloss.lab.train import train as train_run

    torch.set_num_threads(threads)

    def on_progress(now: Progress) -> None:
        show("training", now.step, now.steps, f"loss {now.loss:.3f}")

    how = {**how, "engine": Engine(**how["engine"])}
    return train_run(spec, tokens, folder, on_progress=on_progress, eval_sets=others, **how)


def _together(
    spec: RunSpec,
    tokens: TokenSet,
    others: Mapping[str, TokenSet],
    folder: Path,
    how: dict[str, Any],
    show: Report,
) -> End:
    from isoloss.lab.parallel.launch import train_together

    def on_progress(now: Mapping[str, Any]) -> None:
        show("training", now["step"], now["steps"], f"loss {now['loss']:.3f}")

    return train_together(
        spec,
        tokens.folder,
        folder,
        **how,
        eval_sets={name: other.folder for name, other in others.items()},
        on_progress=on_progress,
        on_note=_warn,
    )


def _warn(note: str) -> None:
    say(f"warning: {note}")
