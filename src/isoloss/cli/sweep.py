"""`isoloss sweep`: every run of a sweep file, each exactly once, on all cores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from isoloss.cli.options import (
    Count,
    Device,
    EvalTokens,
    Json,
    NoiseEvery,
    Precision,
    engine_fields,
)
from isoloss.cli.output import emit_json, say
from isoloss.cli.progress import progress
from isoloss.cli.sweep_design import design
from isoloss.errors import InputError

if TYPE_CHECKING:
    from isoloss.runs import RunSpec

app = App(name="sweep")
app.command(design)


@app.default
def sweep(
    sweep_file: Annotated[Path, Parameter(help="The sweep, a TOML file.")],
    *,
    out: Annotated[
        Path | None, Parameter(help="Folder of the records; the file's name without .toml.")
    ] = None,
    tokens: Annotated[
        Path | None,
        Parameter(
            help="Token ids: a folder, a .bin file or a packed set; made from the corpus without."
        ),
    ] = None,
    eval_tokens: EvalTokens = None,
    workers: Annotated[
        Count | None,
        Parameter(help="Processes; all cores, or on a GPU as many as make it do more."),
    ] = None,
    device: Device = None,
    precision: Precision = None,
    noise_every: NoiseEvery = None,
    dry_run: Annotated[
        bool, Parameter(show_default=False, help="Show what would be trained, and write nothing.")
    ] = False,
    json: Json = False,
) -> int:
    """Train every run of a sweep, on all cores; `isoloss sweep design` writes one for a budget.

    Runs that are finished are skipped and begun ones resumed, so after Ctrl-C or a crash the same
    command goes on. A run that diverges is a record too; one that fails does not stop the others,
    and makes the exit code 1.
    """
    from isoloss.lab.eval_sets import parse_folders, prepare_eval_sets
    from isoloss.lab.sweep import given_tokens, prepare_tokens, run_sweep
    from isoloss.runs import read_sweep

    specs = read_sweep(sweep_file)
    folder = out or sweep_file.with_suffix("")
    if folder == sweep_file:
        raise InputError(f"{sweep_file} has no suffix to leave out; give a folder with --out")
    if dry_run:
        _preview(specs, folder, tokens, workers, json)
        return 0
    if tokens is not None:
        token_set = given_tokens(tokens, folder)
    else:
        with progress() as show:
            token_set = prepare_tokens(specs, folder, progress=show)
    given = parse_folders(eval_tokens or ())
    with progress() as show:
        others = prepare_eval_sets(specs, token_set, folder, given=given, progress=show)
    result = run_sweep(
        specs,
        token_set.folder,
        folder,
        workers=workers,
        eval_sets={name: other.folder for name, other in others.items()},
        engine=engine_fields(device, precision),
        noise_every=noise_every or 0,
    )
    if json:
        emit_json(result)
    else:
        print(f"{result.summary()}; records in {folder}")
    if result.failures:
        say(f"isoloss: {result.summary()}")
    return 0 if result.complete else 1


def _preview(
    specs: Sequence[RunSpec], folder: Path, tokens: Path | None, workers: int | None, json: bool
) -> None:
    """Show what would be trained; nothing is tokenized for it."""
    from isoloss.lab.sweep import dry_run, tokens_there
    from isoloss.runs import with_trunks

    there = tokens_there(specs, folder, given=tokens)
    lines = dry_run(specs, there.folder if there else None, folder, workers=workers)
    if json:
        emit_json({"runs": [_implied(spec) for spec in with_trunks(specs)]})
    else:
        print("\n".join(lines))


def _implied(spec: RunSpec) -> dict[str, Any]:
    """Everything that follows from a spec."""
    from isoloss.counting import FLOP_CONVENTIONS, count_all, params_by_group

    return {
        "run": spec.run_id,
        "spec": spec.to_dict(),
        "params_by_group": params_by_group(spec.shape),
        "params": count_all(spec.shape),
        "steps": spec.steps,
        "tokens_seen": spec.tokens_seen,
        "tokens_paid": spec.tokens_paid,
        "flops": {convention: spec.flops(convention) for convention in FLOP_CONVENTIONS},
    }
