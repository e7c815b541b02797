"""A fit as a file: a law with what is needed to doubt it, written by `isoloss fit --out`.

Data only: nothing in the file is executed, and the law is one that the laws' room defines.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from isoloss.distributions import student_quantile
from isoloss.errors import FitError, InputError
from isoloss.fitting.intervals import robust_scale
from isoloss.fitting.parametric import Fit, fit
from isoloss.laws import Law
from isoloss.laws.forms import Along, Array, ExponentRange
from isoloss.runs import Runs
from isoloss.trust.draws import Draws
from isoloss.trust.forecast_model import describe, method_of, posterior
from isoloss.trust.quantiles import Interval, interval
from isoloss.trust.resampling import seed_spread

_SAMPLE = 400
_DRAWS = 1000
VERSION = 1
"""The version of the file; others are refused, and files that name none are of the first."""

_TABLES = frozenset({".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".pq"})

_SETTLED = 1e-3
"""How far, in log loss, the law fitted again may lie from the law of the file at its runs."""


@dataclass(frozen=True, eq=False)
class FittedLaw:
    """A law with what is needed to doubt it: a fit as `isoloss fit --out` leaves it.

    law: of n and d. residuals: (m,) log predicted - log observed of its runs. sample: coefficients
    of resampled fits, (k,) each, empty if there are none. n_convention: how its n is counted.
    fit: with its runs, from which the forecast model is computed; None in old files, and then
    losses are plain. draws, seed, least_noise: of that model, as in `Draws.predict`.
    """

    law: Law
    residuals: Array
    n_convention: str
    loss_unit: str = "nats"
    sample: Mapping[str, Array] = field(default_factory=dict)
    fit: Fit | None = None
    draws: int = _DRAWS
    seed: int = 0
    least_noise: float = 0.0

    @classmethod
    def of(cls, found: Fit | Draws) -> FittedLaw:
        """Return the same from a fit, or from its draws, whose number and seed are kept."""
        fitted = found.fit if isinstance(found, Draws) else found
        drawn: dict[str, Array] = {}
        if isinstance(found, Draws):
            values = found.law.coefficients().items()
            drawn = {name: np.broadcast_to(v, len(found))[:_SAMPLE] for name, v in values}
        return cls(
            law=fitted.law,
            residuals=fitted.residuals,
            n_convention=fitted.runs.n_convention,
            loss_unit=fitted.runs.loss_unit,
            sample=drawn,
            fit=fitted,
            draws=found.asked if isinstance(found, Draws) else _DRAWS,
            seed=found.seed if isinstance(found, Draws) else 0,
            least_noise=seed_spread(fitted.runs),
        )

    @property
    def method(self) -> str:
        """How `loss` is forecast: "forecast model" or "plain"."""
        return "plain" if self.fit is None else describe(method_of(None, self.fit))

    def loss(self, n: float, d: float, level: float) -> Interval:
        """Return the loss of one new run.

        By the forecast model, as in `Draws.predict(kind="run")`, the misfit of the law beyond its
        runs included. Plain: the law itself, its resamples and the robust scale of its residuals,
        without any misfit.
        """
        if self.fit is None or self.method == "plain":
            return self._plain(n, d, level)
        model = method_of(None, self.fit)
        assert model != "plain"
        found = posterior(
            model, self.fit, draws=self.draws, seed=self.seed, least_noise=self.least_noise
        )
        return Interval(*(np.asarray(end[0]) for end in interval(found.losses([n], [d]), level)))

    def _plain(self, n: float, d: float, level: float) -> Interval:
        mid, sought = float(self.law(n, d)), len(self.law.coefficients())
        spare = max(len(self.residuals) - sought, 1)
        # The fit is nearly a median regression: it passes through as many runs as it seeks
        # coefficients, and these say nothing of the scale.
        size = np.sort(np.abs(self.residuals))[-spare:]
        variance = robust_scale(size) ** 2
        if self.sample:
            drawn = np.log(type(self.law)(**self.sample)(n, d))
            variance += robust_scale(drawn - np.median(drawn)) ** 2
        half = student_quantile(0.5 + 0.5 * level, spare) * math.sqrt(variance)
        return Interval(*(np.asarray(mid * math.exp(side * half)) for side in (-1.0, 0.0, 1.0)))

    def to_dict(self) -> dict[str, Any]:
        """Return what the file holds beside the fit: `version`, `sample`, the runs in `forecast`.

        Runs are left out of fits that `track` cannot use, where the law is not one of n and d.
        """
        content: dict[str, Any] = {"version": VERSION}
        if self.sample:
            content["sample"] = {name: values.tolist() for name, values in self.sample.items()}
        if self.fit is not None and _of_n_and_d(type(self.law)):
            runs = self.fit.runs
            content["forecast"] = {
                **{name: getattr(runs, name).tolist() for name in ("n", "d", "loss")},
                "draws": self.draws,
                "seed": self.seed,
                "least_noise": self.least_noise,
            }
        return content


def read_fit(path: str | Path) -> FittedLaw:
    """Read the law, its residuals, its resampled coefficients and its runs from a file.

    path: as `isoloss fit --out` wrote it. The law is fitted again to the runs of the file, so that
    new runs can be forecast by the forecast model; a file without them is read, and is plain.
    Raises InputError naming the file: missing, not JSON, not such a file, a law that is not known,
    a coefficient that is no number or below zero where its law does not go, or runs that give
    another law.
    """
    path = Path(path)
    if _table_by_name(path):
        raise InputError(_is_table(path))
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; write one with isoloss fit --out") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: not a readable fit ({error}); write one with isoloss fit --out"
        ) from None
    if _table_by_content(document):
        raise InputError(_is_table(path))
    try:
        return _fitted(document)
    except InputError as error:
        raise InputError(f"{path}: {error}; write it again with isoloss fit --out") from None


def _table_by_name(path: Path) -> bool:
    """Whether a path is where runs lie: a folder, or a table by its suffix."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    return path.is_dir() or (path.is_file() and bool(_TABLES & set(suffixes)))


def _table_by_content(document: Any) -> bool:
    """Whether JSON is a list of runs, or columns of them."""
    columns = document.values() if isinstance(document, Mapping) else [document]
    return bool(document) and all(isinstance(column, list) for column in columns)


def _is_table(path: Path) -> str:
    return (
        f"{path}: holds runs and no fit; isoloss fit {path} --out fit.json makes one of them, and "
        "isoloss plan takes runs by --runs"
    )


def _fitted(document: Any) -> FittedLaw:
    wanted = ("form", "law", "residuals", "runs")
    if not isinstance(document, Mapping) or any(key not in document for key in wanted):
        raise InputError(f"not a fit: it must hold {', '.join(wanted)}")
    version = document.get("version", VERSION)
    if version != VERSION:
        raise InputError(
            f"written in version {version} of the file, and this isoloss reads version {VERSION}: "
            "update isoloss"
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
    law, content = form(**coefficients), document.get("forecast")
    residuals = _numbers(document["residuals"], "residuals", signed=True)
    return FittedLaw(
        law=law,
        residuals=residuals,
        n_convention=str(runs.get("n_convention", "unknown")),
        loss_unit=str(runs.get("loss_unit", "nats")),
        sample=drawn,
        **({} if content is None else _again(document, content, law, residuals)),
    )


def _again(document: Mapping[str, Any], content: Any, law: Law, residuals: Array) -> dict[str, Any]:
    """The fit to the runs of the file, in the way that the file says, and its model's numbers."""
    keys = {"n", "d", "loss", "draws", "seed", "least_noise"}
    if not isinstance(content, Mapping) or set(content) != keys or not _of_n_and_d(type(law)):
        raise InputError(f"`forecast` must hold {', '.join(sorted(keys))} of a law of n and d")
    rows = {name: _numbers(content[name], f"forecast {name}") for name in ("n", "d", "loss")}
    if any(values.shape != residuals.shape or np.any(values <= 0) for values in rows.values()):
        raise InputError("`forecast` must hold positive n, d and loss, as many as `residuals`")
    numbers = {
        name: float(_numbers([content[name]], f"forecast {name}")[0])
        for name in ("draws", "seed", "least_noise")
    }
    if not 2 <= numbers["draws"] <= 1e6 or any(numbers[k] % 1 for k in ("draws", "seed")):
        raise InputError("forecast draws and seed must be whole numbers, draws 2 to a million")
    fixed, delta = document.get("fixed") or {}, document.get("delta")
    unit = str(document["runs"].get("loss_unit", "nats"))
    convention = str(document["runs"].get("n_convention", "unknown"))
    if not isinstance(fixed, Mapping):
        raise InputError("`fixed` must hold coefficients")
    try:
        found = fit(
            type(law),
            Runs(
                n=rows["n"],
                d=rows["d"],
                loss=rows["loss"],
                loss_unit=unit,
                n_convention=convention,
            ),
            residual=document.get("residual", "log"),
            delta=None if delta is None else float(_numbers([delta], "delta")[0]),
            fixed={
                str(name): float(_numbers([v], str(name), signed=True)[0])
                for name, v in fixed.items()
            },
            weights=_numbers(document["weights"], "weights") if "weights" in document else None,
            asymmetry=float(_numbers([document.get("asymmetry", 1.0)], "asymmetry")[0]),
        )
    except FitError as error:
        raise InputError(f"the runs in `forecast` give no law ({error})") from None
    if np.max(np.abs(found.residuals - residuals)) > _SETTLED:
        raise InputError("the runs in `forecast` do not give the law of the file")
    return {
        "fit": found,
        "draws": int(numbers["draws"]),
        "seed": int(numbers["seed"]),
        "least_noise": numbers["least_noise"],
    }


def _of_n_and_d(form: type[Law]) -> bool:
    return form.variables == ("n", "d")


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
