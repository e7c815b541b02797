"""Forecasts that can be held to account: written down, with a hash, before their run starts.

A forecast names the run, the loss, its interval, and everything it was made from (law,
coefficients, hash of the runs, conventions). The file is never overwritten by different content.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from isoloss.errors import InputError
from isoloss.trust.draws import Draws
from isoloss.trust.forecast_model import Method

_FORMAT = "isoloss-forecasts-2"


@dataclass(frozen=True)
class Target:
    """A run to forecast: n parameters on d tokens, costing c FLOPs (6 * n * d if not given)."""

    name: str
    n: float
    d: float
    c: float = field(default=0.0)

    def __post_init__(self) -> None:
        if not self.c:
            object.__setattr__(self, "c", 6.0 * self.n * self.d)
        for name in ("n", "d", "c"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise InputError(f"target {self.name!r}: {name} must be positive, not {value!r}")


@dataclass(frozen=True)
class Forecast:
    """The loss, in nats, that a run will reach: a middle and an interval at `level`.

    far: its compute over the largest compute among the runs fitted. runs_hash: identifies these.
    method: "forecast model" or "plain", as in `Draws.predict`.
    """

    name: str
    n: float
    d: float
    c: float
    level: float
    low: float
    mid: float
    high: float
    law: str
    coefficients: dict[str, float]
    runs_hash: str
    n_convention: str
    c_convention: str
    far: float
    method: str


@dataclass(frozen=True)
class Outcome:
    """A forecast and the loss that came of it; se is the measured loss's standard error, nats."""

    forecast: Forecast
    loss: float
    se: float = 0.0

    @property
    def hit(self) -> bool:
        """Whether the loss lies in the forecast's interval."""
        return self.forecast.low <= self.loss <= self.forecast.high

    @property
    def error(self) -> float:
        """log forecast - log loss: positive if the forecast was too high."""
        return float(np.log(self.forecast.mid) - np.log(self.loss))


def make_forecasts(
    draws: Draws, targets: Sequence[Target], *, level: float = 0.9, forecast: Method | None = None
) -> tuple[Forecast, ...]:
    """Forecast the loss of new runs.

    draws: of a law of (n, d), counted as the runs were. targets: the runs, counted alike.
    level: of the interval, that of `Draws.predict(kind="run")`. forecast: as there.
    Raises InputError if the law is not one of n and d.
    """
    fit = draws.fit
    if fit.form.variables != ("n", "d"):
        raise InputError(f"forecasts need a law of (n, d), not {fit.form.__name__}")
    n, d = [target.n for target in targets], [target.d for target in targets]
    low, mid, high = draws.predict(n, d, level=level, forecast=forecast)
    return tuple(
        Forecast(
            name=target.name,
            n=float(target.n),
            d=float(target.d),
            c=float(target.c),
            level=level,
            low=float(low[i]),
            mid=float(mid[i]),
            high=float(high[i]),
            law=fit.form.__name__,
            coefficients=fit.coefficients,
            runs_hash=fit.runs.hash,
            n_convention=fit.runs.n_convention,
            c_convention=fit.runs.c_convention,
            far=float(target.c / fit.runs.c.max()),
            method=draws.forecast_method(forecast),
        )
        for i, target in enumerate(targets)
    )


def write_forecasts(path: str | Path, forecasts: Sequence[Forecast]) -> str:
    """Write forecasts as JSON and return the SHA-256 (hex) of the file.

    The same forecasts always give the same bytes. Raises InputError, and leaves the file as it is,
    if it holds other forecasts: a forecast that can be changed afterwards is none. Raises
    InputError also if the folder is missing.
    """
    path = Path(path)
    document = {"format": _FORMAT, "forecasts": [asdict(one) for one in forecasts]}
    content = (json.dumps(document, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()
    digest = hashlib.sha256(content).hexdigest()
    if path.exists():
        if path.read_bytes() == content:
            return digest
        raise InputError(
            f"{path} holds other forecasts; write these to a new file, or remove it yourself"
        )
    if not path.parent.is_dir():
        raise InputError(f"there is no folder {path.parent} to write {path.name} to; make it first")
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    return digest


def read_forecasts(path: str | Path) -> tuple[Forecast, ...]:
    """Read forecasts that `write_forecasts` wrote.

    Raises InputError if the file is missing or is not such a file.
    """
    path = Path(path)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"there is no forecast file {path}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a forecast file: {error}") from None
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise InputError(f"{path} is not a forecast file: its format is not {_FORMAT}")
    return tuple(_forecast(entry, path) for entry in document.get("forecasts", []))


def _forecast(entry: dict[str, Any], path: Path) -> Forecast:
    names = {f.name for f in fields(Forecast)}
    if set(entry) != names:
        odd = ", ".join(sorted(names.symmetric_difference(entry)))
        raise InputError(f"{path}: an entry lacks, or does not know, {odd}")
    return Forecast(**entry)
