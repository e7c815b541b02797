"""`isoloss sweep design`: which runs a budget should buy, as a table and as a sweep file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

from isoloss.cli.options import Count, Json, Number, Seed
from isoloss.cli.output import emit_json, say, show, table
from isoloss.cli.replacing import check_output, is_design
from isoloss.cli.wording import in_options
from isoloss.errors import InputError, UsageError
from isoloss.units import PF_DAY, format_number, parse_number, plural

if TYPE_CHECKING:
    from isoloss.planning import Budget, Design, PlannedRun, Recipe

_SPENT = Group("What there is to spend, and on what")
_PLACED = Group("Where the runs lie")
_MODELS = Group("The models and their training")
_TAKES = {
    "isoflop": {"law", "budgets", "sizes", "span", "width", "tokens_per_param"},
    "ladder": {"law", "sizes", "span", "multiples", "tokens_per_param"},
    "grid": {"law", "sizes", "tokens", "span", "tokens_per_param"},
    "kaplan": {"sizes", "span"},
}


@dataclass(frozen=True)
class Spent:
    """What the whole sweep may take, and what it runs on."""

    flops: Annotated[
        Number | None, Parameter(group=_SPENT, help="FLOPs of the whole sweep, such as 1e19.")
    ] = None
    booking: Annotated[
        str | None, Parameter(group=_SPENT, help="Accelerators and a time: 8xH100:24h.")
    ] = None
    hardware: Annotated[
        str | None, Parameter(group=_SPENT, help="The accelerator, for the time --flops take.")
    ] = None
    count: Annotated[Count | None, Parameter(group=_SPENT, help="How many devices.")] = None
    utilisation: Annotated[
        Number | None, Parameter(group=_SPENT, help="Share of the peak reached; 0.4 without it.")
    ] = None
    price: Annotated[
        Number | None, Parameter(group=_SPENT, help="Dollars for one hour of one device.")
    ] = None
    throughput: Annotated[
        Number | None, Parameter(group=_SPENT, help="FLOPs per second, instead of --hardware.")
    ] = None

    def budget(self) -> Budget:
        """What was given, read as `isoloss plan` reads it."""
        from isoloss.planning import budget

        if self.flops is None and self.booking is None:
            raise UsageError("say what there is to spend: --flops 1e19, or --booking 8xH100:24h")
        given = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "throughput"}
        found = budget(given)  # type: ignore[arg-type]
        for note in found.notes:
            say(f"note: {note}")
        return found


@dataclass(frozen=True)
class Placed:
    """Where the runs lie; what is not given is the design's own."""

    law: Annotated[
        str | None,
        Parameter(group=_PLACED, help="A published law, or a fit's JSON file; besiroglu."),
    ] = None
    budgets: Annotated[
        Count | None, Parameter(group=_PLACED, help="Budgets of an isoflop design; 5.")
    ] = None
    sizes: Annotated[
        Count | None, Parameter(group=_PLACED, help="Sizes: 7 a budget, 6, or 5 of a grid.")
    ] = None
    tokens: Annotated[
        Count | None, Parameter(group=_PLACED, help="Numbers of tokens of a grid; 5.")
    ] = None
    span: Annotated[
        Number | None,
        Parameter(group=_PLACED, help="Last budget, or size, over the first; 100, 16 of a grid."),
    ] = None
    width: Annotated[
        Number | None, Parameter(group=_PLACED, help="Largest size over a budget's best; 4.")
    ] = None
    multiples: Annotated[
        str | None, Parameter(group=_PLACED, help="Of a ladder's best tokens, such as 0.5,1,2.")
    ] = None
    tokens_per_param: Annotated[
        str | None, Parameter(group=_PLACED, help="Least and most tokens per parameter: 1,1000.")
    ] = None

    def options(self, kind: str) -> dict[str, Any]:
        """What was given, as the function that designs takes it."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        found = {name: value for name, value in given.items() if value is not None}
        for name in found:
            if name not in _TAKES[kind]:
                raise UsageError(f"--{name.replace('_', '-')} says nothing of {kind} designs")
        if "law" in found:
            found["law"] = _law(found["law"])
        if "multiples" in found:
            found["multiples"] = _numbers("--multiples", found["multiples"], "0.5,1,2")
        if "tokens_per_param" in found:
            found["tokens_per_param"] = _numbers(
                "--tokens-per-param", found["tokens_per_param"], "1,1000", 2
            )
        return found


@dataclass(frozen=True)
class Models:
    """What is trained, and how."""

    style: Annotated[
        Literal["modern", "gpt2"], Parameter(group=_MODELS, help="What the models look like.")
    ] = "modern"
    vocab: Annotated[Count, Parameter(group=_MODELS, help="Vocabulary; 256 for bytes.")] = 32_000
    context: Annotated[Count, Parameter(group=_MODELS, help="Tokens of context.")] = 2_048
    rule: Annotated[
        Literal["porian", "step-law", "deepseek"],
        Parameter(group=_MODELS, help="Whose published rates and batches to use."),
    ] = "porian"
    lr: Annotated[
        Number | None, Parameter(group=_MODELS, help="One learning rate for all, not the rule's.")
    ] = None
    batch: Annotated[
        Count | None, Parameter(group=_MODELS, help="One batch for all, in tokens.")
    ] = None
    corpus: Annotated[
        str, Parameter(group=_MODELS, help="The text: a name of `isoloss corpus list`, or a file.")
    ] = ""
    seed: Annotated[Seed, Parameter(group=_MODELS, help="Seed of all runs.")] = 0

    def recipe(self) -> Recipe:
        """The same as the library's Recipe."""
        from isoloss.counting import Family
        from isoloss.laws.published_tuning import RULE_PAIRS
        from isoloss.planning import Recipe

        pairs = {"porian": "Porian", "step-law": "Step Law", "deepseek": "DeepSeek"}
        lr, batch = RULE_PAIRS[pairs[self.rule]]
        return Recipe(
            family=Family(self.vocab, self.context, self.style),
            lr=lr if self.lr is None else self.lr,
            batch=batch if self.batch is None else self.batch,
            corpus=self.corpus,
            seed=self.seed,
        )


def design(
    *,
    kind: Annotated[
        Literal["isoflop", "ladder", "grid", "kaplan"], Parameter(help="What to design.")
    ] = "isoflop",
    spent: Annotated[Spent | None, Parameter(name="*")] = None,
    placed: Annotated[Placed | None, Parameter(name="*")] = None,
    models: Annotated[Models | None, Parameter(name="*")] = None,
    out: Annotated[
        Path | None, Parameter(help="Write the runs as a sweep file: SWEEP.toml.")
    ] = None,
    json: Json = False,
) -> None:
    """Design a sweep for a budget: which sizes on how many tokens, as runs that can be trained.

    isoflop: several sizes at each of several budgets. ladder: sizes at the law's best tokens, or
    multiples. grid: every size on every number of tokens. kaplan: sizes to convergence, parts of
    the text, batches. A run more than 2 % off what was wanted is marked "!".
    """
    from isoloss import planning

    spent, placed = spent or Spent(), placed or Placed()
    if out is not None:
        check_output(out, Path(placed.law or "besiroglu"), is_design)
    budget = spent.budget()
    assert budget.flops is not None
    recipe, options = (models or Models()).recipe(), placed.options(kind)
    if kind == "isoflop":
        found = planning.isoflop_design(budget.flops, recipe=recipe, **options)
    elif kind == "ladder":
        found = planning.ladder_design(budget.flops, recipe=recipe, **options)
    elif kind == "grid":
        found = planning.grid_design(budget.flops, recipe=recipe, **options)
    else:
        found = planning.kaplan_design(budget.flops, recipe=recipe, **options)
    if out is not None:
        _write(out, found)
    time = _time(found, budget, spent.throughput)
    if json:
        emit_json({"design": found, "time": time})
        return
    groups = groupby(found.runs, key=lambda run: run.group)
    show(
        *(_table(name, list(runs)) for name, runs in groups),
        *_summary(found, time),
        *(f"note: {in_options(line)}." for line in found.notes),
    )


def _law(name: str) -> Any:
    """A published law, or the law of a fit's file if there is one of that name."""
    path = Path(name)
    if path.suffix != ".json" and not path.is_file():
        from isoloss.cli.laws import law_to_plan

        return law_to_plan(name)
    from isoloss.trust import read_fit

    return read_fit(path)


def _numbers(option: str, text: str, example: str, count: int | None = None) -> tuple[float, ...]:
    try:
        found = tuple(parse_number(part) for part in text.split(","))
    except InputError:
        found = ()
    if not found or (count is not None and len(found) != count):
        raise UsageError(f"{option} {text!r} is not of the form {example}")
    return found


def _write(path: Path, found: Design) -> None:
    from isoloss.runs import write_sweep

    title = (
        f"A design of kind {found.kind} for {found.budget:.4g} FLOPs, centred by {found.centre}; "
        f"n is {found.n_convention}, FLOPs are {found.c_convention}."
    )
    write_sweep(path, found.specs, title=title)
    say(f"{plural(len(found.specs), 'run')} in {path}")
    if not found.specs[0].corpus:
        say("note: the file names no text: give --corpus, or isoloss sweep a folder by --tokens")


def _time(found: Design, budget: Budget, throughput: float | None) -> dict[str, float | None]:
    """Hours if no device is ever idle, and those of the longest run alone."""
    longest = max(run.flops for run in found.runs)
    machine = budget.machine
    if throughput is not None:
        hours = found.hours(throughput)
        return {"hours": hours, "longest_hours": hours * longest / found.flops}
    if machine is None:
        return {}
    return {
        "hours": machine.hours(found.flops),
        "gpu_hours": machine.gpu_hours(found.flops),
        "longest_gpu_hours": machine.gpu_hours(longest),
        "dollars": machine.dollars(found.flops),
    }


def _table(group: str, runs: Sequence[PlannedRun]) -> object:
    repeats = any(run.unique_tokens is not None for run in runs)
    rows = [
        (
            format_number(run.n),
            f"{run.spec.shape.n_layer}x{run.spec.shape.d_model}",
            *([format_number(run.unique_tokens or run.d)] if repeats else []),
            format_number(run.d),
            *([] if repeats else [format_number(run.d / run.n)]),
            format_number(run.batch),
            run.steps,
            f"{run.flops:.1e}",
            f"{run.off:+.1%}" + ("!" if run.flagged else ""),
        )
        for run in runs
    ]
    of_text = (">of text", ">tokens") if repeats else (">tokens", ">d/n")
    names = (">n", ">layers x width", *of_text, ">batch", ">steps", ">FLOPs", ">off")
    return table(*names, rows=rows, title=group)


def _summary(found: Design, time: dict[str, float | None]) -> list[str]:
    lines = [
        f"{plural(len(found.runs), 'run')}, {found.flops:.4g} FLOPs "
        f"({format_number(found.flops / PF_DAY)} PF-days) of {found.budget:.4g}; "
        f"n is {found.n_convention}, FLOPs are {found.c_convention}."
    ]
    said = [
        f"{what}: {format_number(time[name] or 0.0)}"
        for name, what in (
            ("gpu_hours", "device-hours"),
            ("hours", "hours if no device is idle"),
            ("longest_gpu_hours", "device-hours of the longest run"),
            ("longest_hours", "hours of the longest run"),
            ("dollars", "dollars"),
        )
        if time.get(name) is not None
    ]
    return [*lines, *([f"{'; '.join(said)}."] if said else [])]
