"""Reading back the fit that `isoloss fit --out` wrote: data only, nothing in it is executed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from isoloss.errors import InputError
from isoloss.laws import Law
from isoloss.laws.forms import Along, Array, ExponentRange
from isoloss.trust.tracking import FittedLaw


def read_fit(path: str | Path) -> FittedLaw:
    """Read the law, its residuals and its resampled coefficients from a file of `isoloss fit`.

    Raises InputError naming the file: missing, not JSON, not such a file, a law that is not known,
    or a coefficient that is no number or below zero where its law does not go.
    """
    path = Path(path)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; write one with isoloss fit --out") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a readable fit ({error})") from None
    try:
        return _fitted(document)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _fitted(document: Any) -> FittedLaw:
    wanted = ("form", "law", "residuals", "runs")
    if not isinstance(document, Mapping) or any(key not in document for key in wanted):
        raise InputError(
            f"not a fit: it must hold {', '.join(wanted)}; write one with isoloss fit --out"
        )
    form = _form(str(document["form"]))
    names = [*form.scales, *form.exponents]
    given, runs = document["law"], document["runs"]
    if not isinstance(given, Mapping) or set(given) != set(names):
        raise InputError(f"{form.__name__} has the coefficients {', '.join(names)}")
    if not isinstance(runs, Mapping):
        raise InputError("`runs` must say how the runs were counted")
    signed = {name for name, within in form.exponents.items() if _below_zero(within)}
    coefficients = {
        name: float(_numbers([given[name]], name, signed=name in signed)[0]) for name in names
    }
    sample = document.get("sample") or {}
    if not isinstance(sample, Mapping) or (sample and set(sample) != set(names)):
        raise InputError("`sample` must hold the coefficients of the law")
    drawn = {name: _numbers(values, name, signed=name in signed) for name, values in sample.items()}
    if len({len(values) for values in drawn.values()}) > 1:
        raise InputError("the coefficients in `sample` differ in number")
    return FittedLaw(
        law=form(**coefficients),
        residuals=_numbers(document["residuals"], "residuals", signed=True),
        n_convention=str(runs.get("n_convention", "unknown")),
        loss_unit=str(runs.get("loss_unit", "nats")),
        sample=drawn,
    )


def _below_zero(within: ExponentRange) -> bool:
    """Whether the range in which a fit looks for a coefficient begins below zero."""
    return not isinstance(within, Along) and within[0] < 0


def _form(name: str) -> type[Law]:
    known = {form.__name__: form for form in _forms(Law)}
    if name not in known:
        raise InputError(f"the law {name!r} is not known")
    return known[name]


def _forms(base: type[Law]) -> Iterator[type[Law]]:
    """Every law that the laws' room defines; importing it has defined them all."""
    for form in base.__subclasses__():
        if form.__module__.startswith("isoloss.laws."):
            yield form
        yield from _forms(form)


def _numbers(values: Any, name: str, signed: bool = False) -> Array:
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name} must hold numbers") from None
    if array.ndim != 1 or not array.size or not np.all(np.isfinite(array)):
        raise InputError(f"{name} must hold finite numbers in a row")
    if not signed and np.any(array < 0):
        raise InputError(f"{name} must not be negative")
    return array
