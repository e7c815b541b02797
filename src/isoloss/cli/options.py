"""What several verbs ask alike: numbers as people write them, and how to read a table of runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter, Token, validators

from isoloss.counting import NConvention
from isoloss.errors import InputError, UsageError
from isoloss.units import parse_number

if TYPE_CHECKING:
    from isoloss.laws import CriticalBatch
    from isoloss.laws.forms import Law
    from isoloss.runs import Runs
    from isoloss.trust import Draws


def _number(type_: Any, tokens: Sequence[Token]) -> float:
    number = parse_number(tokens[0].value)
    if not (math.isfinite(number) and number > 0):
        raise InputError(f"{tokens[0].value} is not positive and finite")
    return number


Number = Annotated[float, Parameter(converter=_number)]
"""A positive number such as 7B, 1.5T or 1e21; anything else is wrong usage."""


def _whole(type_: Any, tokens: Sequence[Token]) -> int:
    number = parse_number(tokens[0].value)
    if not number.is_integer():
        raise InputError(f"{tokens[0].value!r} is not a whole number")
    return int(number)


Whole = Annotated[int, Parameter(converter=_whole)]
"""A whole number, such as 1000 or 1K; a half of one is wrong usage, not rounded."""

Count = Annotated[Whole, Parameter(validator=validators.Number(gte=1))]
"""A whole number of things that there must be at least one of."""


def _share(type_: Any, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError("It is a share between 0 and 1, such as 0.9.")


EvalTokens = Annotated[
    list[str] | None,
    Parameter(
        help="NAME=FOLDER: the token ids of one of the run's eval_corpora, each with an "
        "--eval-tokens of its own; made from it without."
    ),
]

Device = Annotated[str | None, Parameter(help="cpu, cuda or cuda:N; the GPU where there is one.")]
Precision = Annotated[
    Literal["float32", "bfloat16"] | None,
    Parameter(help="Of products of matrices; the faster of what the device has, measured."),
]


NoiseEvery = Annotated[
    Count | None,
    Parameter(help="Measure the gradient noise scale at every so many steps, for `isoloss gns`."),
]


def engine_fields(device: str | None, precision: str | None) -> dict[str, str]:
    """The fields of an `Engine` that are decided by hand."""
    given = {"device": device, "precision": precision}
    return {name: value for name, value in given.items() if value is not None}


Level = Annotated[float, Parameter(help="Level of the intervals.", validator=_share)]

SizeForm = Literal["chinchilla", "chinchilla-tied", "kaplan-nd"]
"""The forms of size and tokens, which share out compute."""

Form = Literal[SizeForm, "power", "saturating-power", "m3", "m4", "broken-power"]
"""Also those of one variable, which need to be told which."""

AnyForm = Literal[Form, "overtraining", "kaplan-ns", "data-constrained"]
"""Also those of other variables, which share out no compute."""

Residual = Annotated[
    Literal["log", "linear"], Parameter(help="Residuals of the log loss, or of the loss.")
]
Delta = Annotated[
    float,
    Parameter(
        help="Where the Huber loss turns linear; 0 for least squares.",
        validator=validators.Number(gte=0),
    ),
]

LossUnit = Literal["nats", "bits", "bits per byte", "perplexity"]
"""What a table's losses may be in."""

Json = Annotated[bool, Parameter(show_default=False, help="Print strict JSON on stdout.")]


Seed = Annotated[
    Whole, Parameter(help="Seed of the resampling.", validator=validators.Number(gte=0))
]


@dataclass(frozen=True)
class Reading:
    """How to read a table of runs."""

    columns: Annotated[
        str | None, Parameter(help="Which column is what: n=params,d=tokens,loss=val_loss.")
    ] = None
    n: Annotated[
        str | None,
        Parameter(help="Which count of parameters to use, where there are several: total, ..."),
    ] = None
    c: Annotated[
        str | None, Parameter(help="Which count of FLOPs to use, where there are several: 6nd, ...")
    ] = None
    n_convention: Annotated[
        NConvention | None, Parameter(help="How the table's parameters were counted.")
    ] = None
    loss_unit: Annotated[
        LossUnit | None, Parameter(help="What the losses are in, if no name says it.")
    ] = None
    drop_invalid: Annotated[
        bool,
        Parameter(show_default=False, help="Leave out rows without a usable n, d and loss."),
    ] = False

    def read(self, path: Path, *, evaluations: bool = False) -> Runs:
        """Read the runs at `path` as asked, and say on stderr what was assumed."""
        from isoloss.cli.output import say
        from isoloss.runs import read_runs

        runs = read_runs(
            path,
            columns=self._mapping(),
            drop_invalid=self.drop_invalid,
            n_convention=self.n_convention,
            n=self.n,
            c=self.c,
            loss_unit=self.loss_unit,
            evaluations=evaluations,
        )
        for note in runs.notes:
            say(f"note: {note}")
        return runs

    def _mapping(self) -> dict[str, str] | None:
        if self.columns is None:
            return None
        return column_mapping(self.columns, "n=params,d=tokens,loss=val_loss")


def column_mapping(text: str, example: str) -> dict[str, str]:
    """What --columns says: role to column name."""
    pairs = [pair.partition("=") for pair in text.split(",")]
    for name, equals, column in pairs:
        if not (name.strip() and equals and column.strip()):
            raise UsageError(f"--columns {text!r} is not of the form {example}")
    _once("--columns", [name.strip() for name, _, _ in pairs])
    return {name.strip(): column.strip() for name, _, column in pairs}


@dataclass(frozen=True)
class Estimating:
    """What a fit holds, and how it weighs."""

    fix: Annotated[str | None, Parameter(help="Coefficients to hold: E=1.7,alpha=0.34.")] = None
    asymmetry: Annotated[
        Number,
        Parameter(help="How many times as much a prediction above the loss costs as one below."),
    ] = 1.0
    critical_batch: Annotated[
        str | None,
        Parameter(help="For kaplan-ns, the critical batch in tokens: b_star=2e8,alpha_b=0.21."),
    ] = None

    def fixed(self) -> dict[str, float] | None:
        """The coefficients to hold."""
        return None if self.fix is None else _named_numbers("--fix", self.fix, "E=1.7,alpha=0.34")

    def given(self) -> dict[str, Any] | None:
        """The variables that the runs do not hold."""
        if self.critical_batch is None:
            return None
        return {"s_min": critical_batch_law(self.critical_batch)}


def critical_batch_law(text: str) -> CriticalBatch:
    """The law that --critical-batch gives by its numbers."""
    from isoloss.laws import CriticalBatch

    example = "b_star=2e8,alpha_b=0.21"
    numbers = _named_numbers("--critical-batch", text, example)
    if set(numbers) != {"b_star", "alpha_b"} or min(numbers.values()) <= 0:
        raise UsageError(f"--critical-batch {text!r} is not of the form {example}")
    return CriticalBatch(**numbers)


def _named_numbers(option: str, text: str, example: str) -> dict[str, float]:
    pairs = [pair.partition("=") for pair in text.split(",")]
    _once(option, [name.strip() for name, _, _ in pairs])
    try:
        return {name.strip(): parse_number(value) for name, _, value in pairs}
    except InputError:
        raise UsageError(f"{option} {text!r} is not of the form {example}") from None


def _once(option: str, names: list[str]) -> None:
    """Refuse a list that gives one name twice: which was meant is anyone's guess."""
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise UsageError(f"{option} gives {twice[0]} twice; give it once")


def enough(draws: int, level: float) -> None:
    """Refuse, before any work, draws that would tell no interval at this level."""
    from isoloss.fitting.intervals import check_reach

    try:
        check_reach(level, draws)
    except InputError as error:
        raise UsageError(str(error)) from None


def law_of(form: AnyForm) -> type[Law]:
    """Return the law a form names."""
    from isoloss import laws

    return {
        "chinchilla": laws.Chinchilla,
        "kaplan-nd": laws.KaplanND,
        "power": laws.PowerLaw,
        "saturating-power": laws.SaturatingPowerLaw,
        "m3": laws.M3,
        "m4": laws.M4,
        "broken-power": laws.BrokenPowerLaw,
        "chinchilla-tied": laws.ChinchillaTied,
        "overtraining": laws.Overtraining,
        "kaplan-ns": laws.KaplanNS,
        "data-constrained": laws.DataConstrained,
    }[form]


def fitted(form: SizeForm, path: Path, reading: Reading | None, *, draws: int, seed: int) -> Draws:
    """Read the runs at `path`, fit a law of (n, d) to them, and resample it."""
    from isoloss.fitting import fit
    from isoloss.trust import bootstrap

    found = fit(law_of(form), (reading or Reading()).read(path)).check()
    return bootstrap(found, draws=draws, seed=seed)
