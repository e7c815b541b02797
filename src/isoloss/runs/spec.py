"""What one run is, before it is run: a frozen `RunSpec`.

A spec holds what the user chose; everything derived (steps, tokens really seen, FLOPs, the run's
name) is a property, so that it can be shown before anything is spent. `run_id` names the record
file: two specs share it exactly when they would give the same numbers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, Literal, get_args

from isoloss.counting import CConvention, Shape, count_params, flops_per_token
from isoloss.errors import InputError
from isoloss.runs.checks import number_of, refuse_unknown, require, whole_of
from isoloss.runs.rate_rules import follow_rules, is_rule
from isoloss.runs.schedules import COOLING, Schedule, decay_steps, warmup_steps
from isoloss.units import format_number

Optimizer = Literal["adamw", "adam", "adafactor", "sgd", "muon"]
MOMENTUM = {"sgd": 0.9, "muon": 0.95}
"""The optimizers that take a momentum, and the one they have where none is given."""

Parametrization = Literal["standard", "mup"]

_LARGEST = 1 << 63  # what torch's generator takes, and more than any count

_LATER: dict[str, Any] = {
    "dropout": 0.0,
    "momentum": None,
    "data_seed": None,
    "micro_batch": 0,
    "parametrization": "standard",
    "base_width": 0,
    "trunk": 0,
    "patience": 0,
    "unique_tokens": 0,
    "eval_corpora": (),
}
"""Fields of a later date, left out of the plain form at these values: see `RunSpec.run_id`."""


@dataclass(frozen=True)
class RunSpec:
    """One training run as chosen by the user.

    shape: the model. tokens: training tokens asked for. batch: tokens per optimizer step, a
    multiple of shape.n_ctx. lr: peak learning rate, or a name of `RATE_RULES`. optimizer: adamw,
    adam (without weight decay), adafactor, sgd or muon. beta1, beta2, eps: of Adam, and of what
    muon leaves to it. weight_decay: of matrices and embeddings, or "power-lines". momentum: of sgd
    (0.9 where none is given) and muon (0.95).
    clip: largest gradient norm, 0 for none. dropout: the part of the numbers that is dropped in
    training, wherever the model has dropout. corpus, corpus_hash: what text, by name, never by
    absolute path. group: a label; it does not change run_id. eval_points: evaluations along
    the run; eval_block, eval_final: held-out tokens for each of them and for the last.
    data_seed: what the order of the text is drawn from, `seed` where none is given, so that runs
    of other seeds or models can share it. micro_batch: tokens whose gradients are taken at once
    and added up, a part of the batch; 0 for all of it. parametrization: mup scales initial weights
    and rates with d_model / base_width, so that one rate holds at all widths (`training.width`).
    trunk: tokens of a run at a constant rate that this one leaves where its rate begins to fall, 0
    for none (`runs.trunks`). It gives the same numbers for less, so it does not change run_id.
    patience: held-out points without a new lowest loss after which the run stops, 0 for never. Then
    points are evenly spaced and on one half of the held-out text, and the loss is that of the
    lowest point's weights on the other (`lab.training.best_state`).
    unique_tokens: of the training text, 0 for all of it; else contexts of so many tokens, drawn
    from all of it by what draws their order, are seen again and again. Under one data_seed a
    smaller part lies in a larger one.
    eval_corpora: other texts to give the loss on, named as `corpus` is, or folders of token ids.
    A rule (`runs.rate_rules`) is followed once, here: the fields hold what it gave.
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
    momentum: float | None = None
    data_seed: int | None = None
    micro_batch: int = 0
    parametrization: Parametrization = "standard"
    base_width: int = 0
    trunk: int = 0
    patience: int = 0
    unique_tokens: int = 0
    eval_corpora: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._check_optimizer()
        self._follow_rules()
        self._check_numbers()
        self._check_parametrization()
        self._check_batch()
        self._check_schedule()
        for name in ("corpus", "corpus_hash", "group"):
            _check_name(getattr(self, name), name)
        self._check_eval_corpora()

    def _check_eval_corpora(self) -> None:
        names = self.eval_corpora
        if isinstance(names, str) or not isinstance(names, Sequence):
            raise InputError(f"eval_corpora is {names!r}; it must be a list of names")
        for name in names:
            _check_name(name, "eval_corpora")
        if len(set(names)) < len(names) or "" in names:
            raise InputError(f"eval_corpora is {list(names)!r}; name each corpus once")
        object.__setattr__(self, "eval_corpora", tuple(names))

    def _follow_rules(self) -> None:
        named = [name for name in ("lr", "weight_decay") if is_rule(getattr(self, name))]
        if not named:
            return
        if self.optimizer != "adamw" or self.parametrization != "standard":
            raise InputError(
                f"{named[0]} is {getattr(self, named[0])!r}, a rule for adamw in the standard "
                f"parametrization and not for {self.optimizer}, {self.parametrization}; give a "
                "number"
            )
        found = follow_rules(self.shape, self.tokens, self.batch, self.lr, self.weight_decay)
        for name, value in zip(("lr", "weight_decay"), found, strict=True):
            object.__setattr__(self, name, value)

    def _check_numbers(self) -> None:
        whole = ("tokens", "batch", "seed", "eval_points", "eval_block", "eval_final")
        late = ("micro_batch", "base_width", "trunk", "patience", "unique_tokens")
        for name in (*whole, *late):
            object.__setattr__(self, name, whole_of(getattr(self, name), name))
            require(getattr(self, name) < _LARGEST, name, "too large", "be below 2^63")
        if self.data_seed is not None:
            object.__setattr__(self, "data_seed", whole_of(self.data_seed, "data_seed"))
            require(self.data_seed >= 0, "data_seed", self.data_seed, "be zero or more")
            require(self.data_seed < _LARGEST, "data_seed", "too large", "be below 2^63")
        for name in ("lr", "beta1", "beta2", "eps", "weight_decay", "clip", "dropout"):
            object.__setattr__(self, name, number_of(getattr(self, name), name))
        for name in ("tokens", "batch", "lr", "eps", "eval_points", "eval_block", "eval_final"):
            value = getattr(self, name)
            require(value > 0, name, value, "be positive")
        for name in ("weight_decay", "clip", "seed", *late):
            value = getattr(self, name)
            require(value >= 0, name, value, "be zero or more")
        for name in ("beta1", "beta2", "dropout"):
            value = getattr(self, name)
            require(0 <= value < 1, name, value, "be at least 0 and below 1")

    def _check_optimizer(self) -> None:
        if self.optimizer not in get_args(Optimizer):
            raise InputError(
                f"optimizer is {self.optimizer!r}; use one of {', '.join(get_args(Optimizer))}"
            )
        if self.momentum is not None:
            momentum = number_of(self.momentum, "momentum")
            require(0 <= momentum < 1, "momentum", momentum, "be at least 0 and below 1")
            if self.optimizer not in MOMENTUM:
                raise InputError(
                    f"momentum is {momentum} and optimizer is {self.optimizer}: only "
                    f"{' and '.join(MOMENTUM)} take one; leave it out"
                )
            object.__setattr__(self, "momentum", momentum)

    def _check_parametrization(self) -> None:
        if self.parametrization not in get_args(Parametrization):
            known = ", ".join(get_args(Parametrization))
            raise InputError(f"parametrization is {self.parametrization!r}; use one of {known}")
        mup = self.parametrization == "mup"
        if mup != bool(self.base_width):
            raise InputError(
                f"parametrization is {self.parametrization} and base_width {self.base_width}: "
                "mup needs the width that its rate was tuned at, and nothing else has one"
            )
        if mup and (self.optimizer not in ("adamw", "adam") or self.shape.kind != "transformer"):
            raise InputError(
                f"parametrization is mup: its scales are for adamw or adam and a transformer, not "
                f"for {self.optimizer} and {self.shape.kind}"
            )

    def _check_batch(self) -> None:
        n_ctx = self.shape.n_ctx
        if self.batch % n_ctx:
            lower = max(n_ctx, self.batch // n_ctx * n_ctx)
            raise InputError(
                f"batch is {self.batch} tokens; it must be a multiple of n_ctx = {n_ctx}, "
                f"such as {lower}"
            )
        if 0 < self.unique_tokens < self.batch:
            raise InputError(
                f"unique_tokens is {self.unique_tokens}; it must be at least batch = {self.batch}, "
                "or 0 for all of the text"
            )
        if self.micro_batch and (self.micro_batch % n_ctx or self.batch % self.micro_batch):
            raise InputError(
                f"micro_batch is {self.micro_batch} tokens; it must be a multiple of n_ctx = "
                f"{n_ctx} that divides batch = {self.batch}"
            )

    def _check_schedule(self) -> None:
        cools = self.schedule.kind in COOLING
        if self.schedule.warmup_steps or self.trunk:
            held = self.cooling_step if cools else self.steps
            warmup = warmup_steps(self.schedule, self.steps)
            if warmup > held:
                raise InputError(
                    f"schedule warmup_steps is {warmup}; it must be at most {held}, the steps "
                    f"{'before the cool-down' if cools else 'of the run'}: give more tokens"
                )
        if self.trunk and not cools:
            raise InputError(
                f"trunk is {self.trunk} and schedule kind {self.schedule.kind!r}: a run can leave "
                f"a trunk only to cool down; use one of {', '.join(COOLING)}"
            )
        if self.trunk and self.patience:
            raise InputError(
                f"trunk is {self.trunk} and patience {self.patience}: a run that may stop early "
                "shares no trunk; leave one out"
            )
        if self.trunk and round(self.trunk / self.batch) < self.cooling_step:
            raise InputError(
                f"trunk is {self.trunk} tokens, and the run leaves it after "
                f"{self.cooling_step * self.batch}: give at least as many"
            )

    @property
    def steps(self) -> int:
        """Optimizer steps: tokens / batch to the nearest whole number, at least 1."""
        return max(1, round(self.tokens / self.batch))

    @property
    def tokens_seen(self) -> int:
        """Training tokens really seen: steps * batch."""
        return self.steps * self.batch

    @property
    def cooling_step(self) -> int:
        """The steps before the cool-down of a wsd or wsd_sqrt; of another kind, all of them."""
        cools = self.schedule.kind in COOLING
        return self.steps - decay_steps(self.schedule, self.steps) if cools else self.steps

    @property
    def branch_step(self) -> int:
        """The steps that a trunk does for this run, 0 without a trunk."""
        return self.cooling_step if self.trunk else 0

    @property
    def tokens_paid(self) -> int:
        """Training tokens seen by this run itself, those of its trunk left out."""
        return self.tokens_seen - self.branch_step * self.batch

    @property
    def order_seed(self) -> int:
        """What the order of the text is drawn from: data_seed, or the seed."""
        return self.seed if self.data_seed is None else self.data_seed

    def flops(self, convention: CConvention = "exact") -> float:
        """Training FLOPs of the whole run: FLOPs per token by `convention`, times tokens_seen."""
        return flops_per_token(self.shape, convention) * self.tokens_seen

    @property
    def run_id(self) -> str:
        """A readable name and 8 hex digits of a hash over everything that affects the numbers.

        The hash is SHA-256 of the canonical JSON of `to_dict()` without `group` and `trunk`: the
        same in every process and Python version. A field added later must be left out of that JSON
        at its default (`_LATER`, here and in `Shape`), so that records written before it keep
        their names.
        """
        content = self.to_dict()
        content = {key: value for key, value in content.items() if key not in ("group", "trunk")}
        # What is said and does not differ from leaving it out gives the same numbers.
        same = {
            "data_seed": self.seed,
            "micro_batch": self.batch,
            "momentum": MOMENTUM.get(self.optimizer),
        }
        content = {key: value for key, value in content.items() if value != same.get(key)}
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
        if self.eval_corpora:
            plain["eval_corpora"] = list(self.eval_corpora)
        return {**plain, "shape": self.shape.to_dict(), "schedule": self.schedule.to_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RunSpec:
        """Build from a dict; unknown and missing keys raise InputError with the name meant."""
        refuse_unknown(data, [f.name for f in fields(cls)], "run")
        missing = [name for name in ("shape", "tokens", "batch", "lr") if name not in data]
        if missing:
            raise InputError(f"a run needs {', '.join(missing)}")
        content = dict(data)
        if not isinstance(content["shape"], Shape):
            content["shape"] = Shape.from_dict(content["shape"])
        if not isinstance(content.get("schedule", Schedule()), Schedule):
            content["schedule"] = Schedule.from_dict(content["schedule"])
        return cls(**content)


def _check_name(value: object, field: str) -> None:
    """Raise InputError unless a value is a string that a record may hold."""
    if not isinstance(value, str):
        raise InputError(f"{field} is {value!r}; it must be a string")
    if PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute():
        raise InputError(f"{field} is {value!r}; records hold no absolute paths: use a name")
