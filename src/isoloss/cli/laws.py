"""`isoloss laws`: what the papers found, each fit with its source, and what accelerators can do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Annotated, Any

from cyclopts import Parameter

from isoloss.cli.options import Json
from isoloss.cli.output import emit_json, plain, say, show, table
from isoloss.errors import InputError
from isoloss.laws import published
from isoloss.laws.published import Kaplan2020, PublishedLaw
from isoloss.units import format_number

FORMULAS = {
    "Chinchilla": "E + A / n^alpha + B / d^beta",
    "SaturatingPowerLaw": "E + A / x^alpha",
    "PowerLaw": "(xc / {0})^alpha",
    "KaplanND": "((Nc / n)^(alpha_n / alpha_d) + Dc / d)^alpha_d",
    "KaplanNS": "(Nc / n)^alpha_n + (Sc / s_min)^alpha_s",
    "CriticalBatch": "b_star / loss^(1 / alpha_b)",
    "PowerRelation": "coefficient * {0}^exponent",
    "Overtraining": "E + (a m^eta + b / m^eta) / c^eta",
    "DataConstrained": "E + A / n_eff^alpha + B / d_eff^beta",
    "DownstreamError": "eps - k exp(-gamma loss)",
    "Precision": "E + A / n_eff^alpha + B / d^beta",
    "OffsetPrecision": "E + A / n_eff^alpha + B / d^beta",
    "QuantizationLoss": "CT d^gamma_d / n^gamma_n exp(-p_post / gamma_post)",
    "FineGrainedMoE": "c + (g / granularity^gamma + a) / n^alpha + b / d^beta",
    "RoutedExperts": "10^(a log n + b log e + c log n log e + d), e of the experts, base 10",
    "JointMoE": "a e^delta n^(alpha + gamma ln e) + b e^omega d^(beta + zeta ln e) + c, e of the "
    "experts",
    "Farseer": "exp(s n^q + S) + exp(B n^b + Q) d^(-exp(A n^a + E))",
}

SERVES = {
    "Chinchilla": "the loss of a size and its tokens",
    "SaturatingPowerLaw": "the loss along one variable, the others ample",
    "PowerLaw": "the loss along one variable, the others ample",
    "KaplanND": "how far a size overfits few tokens",
    "KaplanNS": "the loss of a size after so many steps",
    "CriticalBatch": "the batch beyond which more is wasted",
    "PowerRelation": "a rule of thumb for one quantity",
    "Overtraining": "the loss of small models trained on many tokens",
    "DataConstrained": "the loss where tokens are seen again and again",
    "DownstreamError": "the error on tasks at a loss",
    "Precision": "the loss of models trained in few bits",
    "OffsetPrecision": "the loss of models trained in few bits",
    "QuantizationLoss": "what quantizing a trained model adds to its loss",
    "FineGrainedMoE": "the loss of mixtures of small experts",
    "RoutedExperts": "the loss of mixtures by their number of experts",
    "JointMoE": "the loss of mixtures by size, tokens and experts",
    "Farseer": "the loss of a size and its tokens, in a unit of its own",
}
"""What a law is good for, by its form, where it plans no budget."""


def laws(
    name: Annotated[str | None, Parameter(help="One law; all of them without it.")] = None,
    *,
    hardware: Annotated[
        bool,
        Parameter(show_default=False, help="The accelerators that isoloss plan --hardware takes."),
    ] = False,
    json: Json = False,
) -> None:
    """List the published laws with source, conventions and measured range.

    Each fit stands alone: coefficients of one are never to be used in another. The row "for" says
    which of them `isoloss plan --law` takes; the others are to be called in Python. With
    --hardware: what accelerators can do at best; a run reaches a share of it, its utilisation.
    """
    if hardware:
        _hardware(name, json)
        return
    found = all_laws()
    if name is not None:
        found = {key: found[key] for key in [law_key(name, tuple(found))]}
    if json:
        emit_json({key: _content(key, law) for key, law in found.items()})
        return
    show(*(part for key, law in found.items() for part in _block(key, law)))
    if name is None:
        names = _one_of(laws_to_plan())
        say(f"plan a budget with: isoloss plan --flops 1e21 --law NAME, NAME being {names}")


def _hardware(name: str | None, json: bool) -> None:
    from isoloss.cli.hardware import hardware_tables
    from isoloss.counting import HARDWARE

    if name is not None:
        raise InputError(f"--hardware lists every accelerator: leave out {name!r}")
    if json:
        emit_json(HARDWARE)
        return
    show(*hardware_tables())


def all_laws() -> dict[str, PublishedLaw]:
    """Every published fit by the name it has in `isoloss.published`."""
    named = {
        key: value
        for key, value in vars(published).items()
        if isinstance(value, PublishedLaw) and key.isupper()
    }
    kaplan = {f"KAPLAN_2020.{key}": law for key, law in published.KAPLAN_2020.fits.items()}
    return kaplan | dict(sorted(named.items(), key=lambda item: item[1].citation[-5:]))


def laws_to_plan() -> dict[str, PublishedLaw | Kaplan2020]:
    """The published laws that say what to train with a budget, by name: Kaplan's is his Table 6."""
    known: dict[str, PublishedLaw | Kaplan2020] = {"KAPLAN_2020": published.KAPLAN_2020}
    return known | {key: law for key, law in all_laws().items() if law in published.PLANNED_WITH}


def law_to_plan(name: str) -> PublishedLaw | Kaplan2020:
    """Find the law a person means to plan with.

    Raises InputError naming those that plan, and what the law is for if it is another.
    """
    plans, every = laws_to_plan(), all_laws()
    for known in (plans, every):
        try:
            key = law_key(name, tuple(known))
            break
        except InputError as unknown:
            refusal = unknown
    else:
        raise InputError(f"{refusal}; --law takes {_one_of(plans)}")
    if key not in plans:
        serves = SERVES[type(every[key].law).__name__]
        raise InputError(
            f"{key} is for {serves}, and plans no budget; --law takes {_one_of(plans)}"
        )
    return plans[key]


def _one_of(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}"


def law_key(name: str, known: tuple[str, ...]) -> str:
    """Find the key a person means: hoffmann-2022 is HOFFMANN_2022, and so is Hoffmann.

    Raises InputError naming the nearest key, or the keys a beginning fits.
    """
    wanted = _folded(name)
    exact = [key for key in known if _folded(key) == wanted]
    begun = [key for key in known if wanted and _folded(key).startswith(wanted)]
    if exact or begun:
        return min(exact or begun, key=len)
    folded = {_folded(key): key for key in known}
    near = difflib.get_close_matches(wanted, folded, n=1, cutoff=0.0)
    hint = f"did you mean {folded[near[0]]}? " if near else ""
    raise InputError(f"no published law is called {name!r}; {hint}`isoloss laws` lists them")


def _folded(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _content(key: str, law: PublishedLaw) -> dict[str, Any]:
    form = type(law.law).__name__
    return {
        **plain(law),
        "form": form,
        "coefficients": plain(law.coefficients()),
        "plans": key in laws_to_plan(),
        "for": SERVES[form],
    }


def _use(key: str, law: PublishedLaw) -> str:
    """How a law is put to use."""
    if key in laws_to_plan():
        return f"isoloss plan --flops 1e21 --law {key}"
    called = f"published.{key}({', '.join(law.variables)})"
    return f"{SERVES[type(law.law).__name__]}; in Python: {called}"


def _block(key: str, law: PublishedLaw) -> tuple[object, ...]:
    form = type(law.law).__name__
    coefficients = ", ".join(f"{k} {float(v):.6g}" for k, v in law.coefficients().items())
    arguments = ", ".join(f"{v} in {u}" for v, u in zip(law.variables, law.units, strict=True))
    ranges = [
        f"{what} {format_number(low)} to {format_number(high)}"
        for what, span in (("n", law.n_range), ("d", law.d_range), ("c", law.c_range))
        if span is not None
        for low, high in [span]
    ]
    rows = [
        ("gives", f"{law.gives} = {FORMULAS[form].format(*law.variables)}"),
        ("with", coefficients),
        ("of", arguments),
        ("counting", f"n {law.n_convention}, c {law.c_convention}"),
        ("measured", ", ".join(ranges) or "range not stated"),
        ("source", f"{law.citation}, {law.where}"),
        ("note", law.note),
        ("for", _use(key, law)),
    ]
    made = table("", "", rows=[row for row in rows if row[1]], title=key)
    made.show_header = False
    made.box = None
    made.columns[0].width = 9
    return made, ""
