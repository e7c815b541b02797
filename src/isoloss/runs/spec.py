"""What one run is, before it is run: a frozen `RunSpec`, and a sweep file that lists many.

A spec holds what the user chose; everything derived (steps, tokens really seen, FLOPs, the run's
name) is a property, so that it can be shown before anything is spent. `run_id` names the record
file: two specs share it exactly when they would give the same numbers.

A sweep is a TOML file. `[defaults]` holds for every `[[run]]`; a list expands into one run for
each of its values, and several lists into their product; `shape` may be a list of tables:

    [defaults]
    corpus = "python-stdlib"
    lr = 0.005
    batch = 1024
    [defaults.shape]
    vocab = 256
    n_ctx = 128

    [[run]]
    group = "isoflop"
    shape = [{ n_layer = 2, d_model = 16, n_heads = 2 }, { n_layer = 3, d_model = 32, n_heads = 2 }]
    tokens = ["600K", "1.2M"]
    seed = [0, 1]
"""

from __future__ import annotations

import difflib
import hashlib
import itertools
import json
import math
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal, get_args

from isoloss.counting import CConvention, Shape, count_params, flops_per_token
from isoloss.errors import InputError
from isoloss.units import format_number, parse_number

ScheduleKind = Literal["cosine", "linear", "constant", "wsd", "wsd_sqrt"]
Optimizer = Literal["adamw", "adam"]

_LATER: dict[str, Any] = {"dropout": 0.0}
"""Fields of a later date, left out of the plain form at these values: see `RunSpec.run_id`."""


@dataclass(frozen=True)
class Schedule:
    """How the learning rate moves: linear warm-up to the peak, then one of five shapes.

    kind: cosine or linear fall over all that follows the warm-up; constant; wsd, which is
    constant and then falls linearly over the last `decay` of the steps; or wsd_sqrt, which falls
    there as one minus a square root, fast at first.
    warmup, decay: fractions of all steps. final: learning rate at the end over its peak.
    Raises InputError naming the field, its value and the rule.
    """

    kind: ScheduleKind = "cosine"
    warmup: float = 0.02
    final: float = 0.1
    decay: float = 0.2

    def __post_init__(self) -> None:
        if self.kind not in get_args(ScheduleKind):
            raise InputError(
                f"schedule kind is {self.kind!r}; use one of {', '.join(get_args(ScheduleKind))}"
            )
        for name in ("warmup", "final", "decay"):
            value = _number(getattr(self, name), f"schedule {name}")
            _require(0 <= value <= 1, f"schedule {name}", value, "lie between 0 and 1")
            object.__setattr__(self, name, value)
        if self.kind in ("wsd", "wsd_sqrt"):
            total = self.warmup + self.decay
            _require(total <= 1, "schedule warmup + decay", total, "be at most 1")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a plain JSON dict."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any] | str) -> Schedule:
        """Build from a dict, or from a kind alone; unknown keys raise InputError."""
        if isinstance(data, str):
            return cls(kind=data)  # type: ignore[arg-type]
        if not isinstance(data, Mapping):
            raise InputError(f"schedule is {data!r}; give a kind, or a table of its fields")
        _refuse_unknown(data, [f.name for f in fields(cls)], "schedule")
        return cls(**data)


@dataclass(frozen=True)
class RunSpec:
    """One training run as chosen by the user.

    shape: the model. tokens: training tokens asked for. batch: tokens per optimizer step, a
    multiple of shape.n_ctx. lr: peak learning rate. beta1, beta2, eps, weight_decay: AdamW (adam
    has no weight decay). clip: largest gradient norm, 0 for none. dropout: the part of the numbers
    that is dropped in training, wherever the model has dropout. corpus, corpus_hash: what text,
    by name, never by absolute path. group: a label; alone it does not change run_id.
    eval_points: evaluations along the run; eval_block, eval_final: held-out tokens for each of
    them and for the last.
    Raises InputError naming the field, its value and the rule.
    """

    shape: Shape
    tokens: int
    batch: int
    lr: float
    schedule: Schedule = field(default_factory=Schedule)
    optimizer: Optimizer = "adamw"
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8
    weight_decay: float = 0.1
    clip: float = 1.0
    seed: int = 0
    corpus: str = ""
    corpus_hash: str = ""
    group: str = ""
    eval_points: int = 24
    eval_block: int = 16_384
    eval_final: int = 204_800
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("tokens", "batch", "seed", "eval_points", "eval_block", "eval_final"):
            object.__setattr__(self, name, _integer(getattr(self, name), name))
        for name in ("lr", "beta1", "beta2", "eps", "weight_decay", "clip", "dropout"):
            object.__setattr__(self, name, _number(getattr(self, name), name))
        for name in ("tokens", "batch", "lr", "eps", "eval_points", "eval_block", "eval_final"):
            value = getattr(self, name)
            _require(value > 0, name, value, "be positive")
        for name in ("weight_decay", "clip", "seed"):
            value = getattr(self, name)
            _require(value >= 0, name, value, "be zero or more")
        for name in ("beta1", "beta2", "dropout"):
            value = getattr(self, name)
            _require(0 <= value < 1, name, value, "be at least 0 and below 1")
        if self.optimizer not in get_args(Optimizer):
            raise InputError(
                f"optimizer is {self.optimizer!r}; use one of {', '.join(get_args(Optimizer))}"
            )
        n_ctx = self.shape.n_ctx
        if self.batch % n_ctx:
            lower = max(n_ctx, self.batch // n_ctx * n_ctx)
            raise InputError(
                f"batch is {self.batch} tokens; it must be a multiple of n_ctx = {n_ctx}, "
                f"such as {lower}"
            )
        for name in ("corpus", "corpus_hash", "group"):
            value = getattr(self, name)
            if not isinstance(value, str):
                raise InputError(f"{name} is {value!r}; it must be a string")
            if PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute():
                raise InputError(f"{name} is {value!r}; records hold no absolute paths: use a name")

    @property
    def steps(self) -> int:
        """Optimizer steps: tokens / batch to the nearest whole number, at least 1."""
        return max(1, round(self.tokens / self.batch))

    @property
    def tokens_seen(self) -> int:
        """Training tokens really seen: steps * batch."""
        return self.steps * self.batch

    def flops(self, convention: CConvention = "exact") -> float:
        """Training FLOPs of the whole run: FLOPs per token by `convention`, times tokens_seen."""
        return flops_per_token(self.shape, convention) * self.tokens_seen

    @property
    def run_id(self) -> str:
        """A readable name and 8 hex digits of a hash over everything that affects the numbers.

        The hash is SHA-256 of the canonical JSON of `to_dict()` without `group`: the same in
        every process and Python version. A field added later must be left out of that JSON at
        its default (`_LATER`, here and in `Shape`), so that records written before it keep their
        names.
        """
        content = self.to_dict()
        del content["group"]
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        digest = hashlib.sha256(canonical.encode()).hexdigest()[:8]
        size = format_number(count_params(self.shape, "non_embedding_plus_head"))
        again = f"x{self.shape.reuse}" if self.shape.reuse > 1 else ""
        layers = "lstm" if self.shape.kind == "lstm" else "l"
        shape = f"{layers}{self.shape.n_layer}{again}d{self.shape.d_model}"
        slug = f"{shape}-n{size}-t{format_number(self.tokens)}-b{self.batch}-s{self.seed}"
        return f"{slug.lower().replace('+', '')}-{digest}"

    def to_dict(self) -> dict[str, Any]:
        """Return every field as a plain JSON dict, but for late ones at their defaults.

        `from_dict` reads it back.
        """
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        plain = {name: value for name, value in plain.items() if value != _LATER.get(name)}
        return {**plain, "shape": self.shape.to_dict(), "schedule": self.schedule.to_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RunSpec:
        """Build from a dict; unknown and missing keys raise InputError with the name meant."""
        _refuse_unknown(data, [f.name for f in fields(cls)], "run")
        missing = [name for name in ("shape", "tokens", "batch", "lr") if name not in data]
        if missing:
            raise InputError(f"a run needs {', '.join(missing)}")
        content = dict(data)
        if not isinstance(content["shape"], Shape):
            content["shape"] = Shape.from_dict(content["shape"])
        if not isinstance(content.get("schedule", Schedule()), Schedule):
            content["schedule"] = Schedule.from_dict(content["schedule"])
        return cls(**content)


def read_sweep(path: str | Path) -> tuple[RunSpec, ...]:
    """Read the runs of a sweep from a TOML file (its form is in the module's docstring).

    Returns the specs in file order, a list's values expanded in order, the last list fastest.
    Raises InputError naming the file and the run: unreadable TOML, an unknown key (with the
    nearest known one), a value out of range, or the same run listed twice.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; give a sweep written in TOML") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({error})") from None
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: not valid TOML: {error}") from None
    try:
        _refuse_unknown(data, ["defaults", "run"], "sweep")
        runs = data.get("run", [])
        if not isinstance(runs, list) or not runs:
            raise InputError("no [[run]] table; write one for each run or group of runs")
        defaults = data.get("defaults", {})
        if not isinstance(defaults, dict):
            raise InputError("`defaults` must be a table: write [defaults]")
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    specs: list[RunSpec] = []
    seen: dict[str, int] = {}
    for number, run in enumerate(runs, start=1):
        try:
            if not isinstance(run, dict):
                raise InputError(f"is {run!r}; write it as a table, [[run]]")
            tables = list(_expand(_merge(defaults, run)))
            if not tables:
                raise InputError("lists no run: one of its lists is empty")
            for table in tables:
                spec = RunSpec.from_dict(table)
                if spec.run_id in seen:
                    raise InputError(
                        f"the run {spec.run_id} is already listed by [[run]] number "
                        f"{seen[spec.run_id]}; change a value such as seed, or remove one"
                    )
                seen[spec.run_id] = number
                specs.append(spec)
        except (InputError, TypeError) as error:
            raise InputError(f"{path}: [[run]] number {number}: {error}") from None
    return tuple(specs)


def _merge(defaults: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, Any]:
    # The run's own keys come last, in its order: its last list is the fastest.
    merged = {key: value for key, value in defaults.items() if key not in run} | dict(run)
    for name in ("shape", "schedule"):
        base, own = _table(defaults.get(name, {})), run.get(name)
        if own is None or not isinstance(base, dict):
            continue
        if isinstance(own, list):
            merged[name] = [_over(base, _table(one)) for one in own]
        else:
            merged[name] = _over(base, _table(own))
    return merged


def _table(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


def _over(base: Mapping[str, Any], own: Any) -> Any:
    return {**base, **own} if isinstance(own, dict) else own


def _expand(table: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield one table for each combination of the values of its lists, at any depth."""
    choices: list[list[Any]] = []
    for value in table.values():
        options = value if isinstance(value, list) else [value]
        choices.append(
            [o for one in options for o in (_expand(one) if isinstance(one, dict) else [one])]
        )
    for combination in itertools.product(*choices):
        yield dict(zip(table, combination, strict=True))


def _refuse_unknown(keys: Iterable[str], known: list[str], where: str) -> None:
    for key in keys:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise InputError(f"unknown key {key!r} in {where}; {hint}")


def _require(holds: bool, name: str, value: object, rule: str) -> None:
    if not holds:
        raise InputError(f"{name} is {value}; it must {rule}")


def _number(value: object, name: str) -> float:
    if hasattr(value, "item"):  # a numpy scalar
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise InputError(f"{name} is {value!r}; it must be a number")
    try:
        number = parse_number(value)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    _require(math.isfinite(number), name, number, "be finite")
    return number


def _integer(value: object, name: str) -> int:
    # An int stays exact: a float would round seeds and counts above 2^53.
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    number = _number(value, name)
    _require(number == int(number), name, number, "be a whole number")
    return int(number)
