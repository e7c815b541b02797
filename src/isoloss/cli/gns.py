"""`isoloss gns`: the gradient noise scale, along a run or at a checkpoint."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter, validators

from isoloss.cli.options import Count, Device, Json, Level, Whole, column_mapping
from isoloss.cli.output import doubts, emit_json, interval, plain, say, show, table
from isoloss.errors import InputError, Status, UsageError
from isoloss.units import format_number, percent, plural

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from isoloss.noise import NoiseScale
    from isoloss.runs import NoiseSeries, NoiseWindow

_UNIDENTIFIED = 3
_WINDOWS, _BATCHES = 6, 64
_MOVES = (
    "It moves as a run trains: that of a whole run is a mean over its steps, each weighed by its "
    "squared gradient."
)


def gns(
    source: Annotated[
        Path,
        Parameter(
            help="A run's record, a folder of them, a table of squared norms, or a checkpoint."
        ),
    ],
    *,
    windows: Annotated[
        Count | None, Parameter(help="Stretches of a run that are measured apart; 6 without it.")
    ] = None,
    columns: Annotated[
        str | None, Parameter(help="Which column is what, of a table: small=b,sq_small=norm.")
    ] = None,
    tokens: Annotated[
        Path | None,
        Parameter(
            help="Token ids for a checkpoint: a folder, a .bin or a packed set; `tokens` beside it."
        ),
    ] = None,
    batches: Annotated[
        Count | None, Parameter(help="Batches drawn at a checkpoint; 64 without it.")
    ] = None,
    batch: Annotated[
        Count | None, Parameter(help="Tokens of each; the run's own batch without it.")
    ] = None,
    seed: Annotated[
        Whole | None,
        Parameter(help="Of what is drawn; 0 without it.", validator=validators.Number(gte=0)),
    ] = None,
    threads: Annotated[
        Count | None, Parameter(help="Threads at a checkpoint; 1 without it.")
    ] = None,
    device: Device = None,
    level: Level = 0.9,
    json: Json = False,
) -> int:
    """Measure the gradient noise scale B_simple of a run, or at a checkpoint.

    A run has squared gradient norms in its record where it was trained with --noise-every; a table
    has them in its columns sq_small, sq_big, small and big. A checkpoint (RUN.ckpt.npz) is measured
    on batches drawn anew. B_simple is the batch, in tokens, at which a gradient is half noise.
    Exit code 3 if it is not yet measurable: then there is a lower bound at most.
    """
    if source.suffix.lower() == ".npz":
        _refuse({"--windows": windows, "--columns": columns}, "a checkpoint has no stretches")
        os.environ["OMP_NUM_THREADS"] = str(threads or 1)  # some libraries read it when loaded
        how: dict[str, Any] = {"batches": batches or _BATCHES, "batch": batch, "seed": seed or 0}
        return _at(source, tokens, {**how, "level": level}, device, threads or 1, json)
    drawn = {"--tokens": tokens, "--batches": batches, "--batch": batch, "--seed": seed}
    drawn |= {"--threads": threads}
    _refuse({**drawn, "--device": device}, "it is for checkpoints, whose name ends in .npz")
    return _along(source, columns, windows or _WINDOWS, level, json)


def _refuse(given: Mapping[str, object], why: str) -> None:
    for name, value in given.items():
        if value is not None:
            raise UsageError(f"{name}: {why}; leave it out")


def _along(source: Path, columns: str | None, windows: int, level: float, json: bool) -> int:
    """Print the noise scale along one run, or of each of several."""
    from isoloss.runs import noise_along, read_noise

    mapping = None if columns is None else column_mapping(columns, "small=b,sq_small=norm")
    series, notes = read_noise(source, columns=mapping)
    for note in notes:
        say(f"note: {note}")
    wholes = [noise_along(one, level=level)[0] for one in series]
    parts = [noise_along(one, windows, level=level) for one in series]
    if json:
        content = [
            {"run": one.run, "unit": one.unit, "tokens_per_sequence": one.tokens_per_sequence}
            | {"whole": whole, "windows": some}
            for one, whole, some in zip(series, wholes, parts, strict=True)
        ]
        emit_json({"runs": plain(content)})
    elif len(series) == 1:
        (one,), (whole,), (some,) = series, wholes, parts
        moves = [_MOVES] if len(some) > 1 else []
        words = (_sentence(whole.scale, one.unit, one.tokens_per_sequence), *moves)
        show(_run_table(one, whole, some), *words, *doubts(whole.scale.status))
    else:
        status = dict.fromkeys(code for whole in wholes for code in whole.scale.status)
        show(_runs_table(series, wholes), _MOVES, *doubts(status))
    return 0 if any(_measurable(whole.scale) for whole in wholes) else _UNIDENTIFIED


def _run_table(one: NoiseSeries, whole: NoiseWindow, parts: Sequence[NoiseWindow]) -> object:
    by_tokens = math.isfinite(whole.tokens[1])
    rows = [(_stretch(part, by_tokens), *_cells(part.scale, one)) for part in parts]
    if len(parts) > 1:
        rows.append(("all", *_cells(whole.scale, one)))
    last = [">sequences"] if math.isfinite(one.tokens_per_sequence) else []
    return table(
        "tokens seen" if by_tokens else "steps",
        ">measured",
        ">B_simple",
        f">{percent(whole.scale.level)} interval",
        *last,
        rows=rows,
        title=f"{one.run}: gradients of {_sizes(one.small)} and {_sizes(one.big)} {one.unit}",
    )


def _stretch(part: NoiseWindow, by_tokens: bool) -> str:
    if by_tokens:
        return interval(*part.tokens)
    return " - ".join(f"{step:,.0f}" for step in part.steps)


def _runs_table(series: Sequence[NoiseSeries], wholes: Sequence[NoiseWindow]) -> object:
    units = f", in {series[0].unit}" if series[0].unit else ""
    return table(
        "run",
        ">measured",
        ">B_simple",
        f">{percent(wholes[0].scale.level)} interval",
        rows=[
            (one.run, *_cells(whole.scale, one)[:3])
            for one, whole in zip(series, wholes, strict=True)
        ],
        title=f"The gradient noise scale of {plural(len(series), 'run')}{units}",
    )


def _sizes(sizes: NDArray[np.float64]) -> str:
    ends = dict.fromkeys((float(sizes.min()), float(sizes.max())))
    return " to ".join(f"{end:,.6g}" for end in ends)


def _cells(scale: NoiseScale, one: NoiseSeries) -> tuple[str, ...]:
    """How many were measured, the noise scale, its interval, and the scale in sequences."""
    if _measurable(scale):
        ends = interval(scale.low, scale.high)
        found = [format_number(scale.b_simple / per) for per in (1.0, one.tokens_per_sequence)]
    else:
        ends = f"at least {format_number(scale.low)}" if scale.low > 0 else "not measurable"
        found = ["-", "-"]
    cells = (f"{scale.steps:,}", found[0], ends)
    return (*cells, found[1]) if math.isfinite(one.tokens_per_sequence) else cells


def _measurable(scale: NoiseScale) -> bool:
    return Status.NOT_MEASURABLE not in scale.status


def _sentence(scale: NoiseScale, unit: str, tokens_per_sequence: float) -> str:
    """The answer in a sentence, in its own unit and where that is known in sequences."""
    if not _measurable(scale) and scale.low == 0:
        return "B_simple: not yet measurable, and no bound either."
    said = []
    for per, name in (
        (1.0, unit or "in the unit of small and big"),
        (tokens_per_sequence, "sequences"),
    ):
        if math.isfinite(per):
            low, mid, high = (
                format_number(x / per) for x in (scale.low, scale.b_simple, scale.high)
            )
            found = f"{mid} ({low} to {high})" if _measurable(scale) else f"at least {low}"
            said.append(f"{found} {name}")
    first = "B_simple" if _measurable(scale) else "B_simple: not yet measurable,"
    return f"{first} {', '.join(said)}"


def _at(
    checkpoint: Path,
    tokens: Path | None,
    how: dict[str, Any],
    device: str | None,
    threads: int,
    json: bool,
) -> int:
    """Print the noise scale at the weights of a checkpoint."""
    from contextlib import ExitStack
    from tempfile import TemporaryDirectory

    import torch

    from isoloss.cli.progress import progress
    from isoloss.lab.engine import Engine
    from isoloss.lab.sweep import given_tokens
    from isoloss.lab.training.noise_at import noise_at

    torch.set_num_threads(threads)
    beside = checkpoint.with_name("tokens")
    if not checkpoint.is_file():
        raise InputError(f"{checkpoint}: no such checkpoint")
    if tokens is None and not beside.is_dir():
        raise InputError(
            f"{checkpoint}: there are no token ids in {beside}; name their folder with --tokens"
        )
    with ExitStack() as open_:
        scratch = beside  # of a file the ids are taken elsewhere: those of the run stay as they are
        if tokens is not None and tokens.is_file():
            scratch = Path(open_.enter_context(TemporaryDirectory(ignore_cleanup_errors=True)))
        text = given_tokens(tokens or beside, scratch)
        report = open_.enter_context(progress("batches"))
        found = noise_at(
            checkpoint,
            text,
            **how,
            engine=Engine(device or "auto", "float32", "fused", False, False),
            on_progress=lambda done, all_: report("measuring", done, all_),
        )
    if not found.same_text:
        say(f"note: {text.name} is not the text that {found.run} was trained on")
    if json:
        emit_json(found)
    else:
        sequences = found.batches * found.batch // found.tokens_per_sequence
        batches = "1 batch" if found.batches == 1 else f"{found.batches:,} batches"
        show(
            f"{found.run} after {plural(found.step, 'step')}: {batches} of "
            f"{found.batch:,} tokens, {plural(sequences, 'sequence')} of {text.name}",
            _sentence(found.scale, "tokens", found.tokens_per_sequence),
            *doubts(found.scale.status),
        )
    return 0 if _measurable(found.scale) else _UNIDENTIFIED
