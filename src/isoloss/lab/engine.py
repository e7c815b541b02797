"""How a run is computed: device, precision, attention, compiled or not; chosen by measuring.

None of it is part of what a run is. In 32 bits every way gives the same loss to rounding; 16 bits
move it by little (`benchmarks/train_speed.py` prints by how much). What was used stands in the
record (`machine.engine`), and a run that goes on is computed as it began.

* precision: bfloat16 autocast where the device has instructions for it and a step with it is a
  tenth faster; weights, moments and the loss stay in 32 bits.
* attention: fused is torch's own; blocked (`models.attention`) is the faster one for many shapes on
  a CPU in 32 bits. Both are timed on the shape.
* compiled: torch.compile of all from the ids to the loss. Only a run of ten minutes or more, some
  20 times what compiling takes, tries it, and keeps it if the steps left gain more than that.
* graph: on a GPU, the kernels of a step's forward and backward pass recorded once and launched as
  one, where that is faster: small models spend their time on launching.

Measurements are kept (`speeds`), so that one machine decides the same way each time.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Literal, TypeAlias, get_args

import torch

from isoloss.counting import Shape, flops_per_token
from isoloss.errors import InputError
from isoloss.lab.models import LanguageModel, make_model
from isoloss.lab.models.attention import blocked_attention
from isoloss.lab.models.transformer import Attention as AttentionModule
from isoloss.lab.parallel.team import Team, all_say
from isoloss.lab.training.gradients import Gradients, plain_gradients, recorded_gradients
from isoloss.lab.training.speeds import best_seconds, matmul_peak, recall
from isoloss.runs import RunSpec

Auto: TypeAlias = Literal["auto"]
Precision: TypeAlias = Literal["float32", "bfloat16"]
Attention: TypeAlias = Literal["fused", "blocked"]

_ATTENTION_GAIN = 1.05  # of a way over the plain one, for it to be taken
_PRECISION_GAIN = 1.1
_GRAPH_GAIN = 1.1
_WORTH_COMPILING = 20  # times the seconds that compiling takes
_COMPILING = 30.0  # seconds it takes, about
_ROWS = 16  # sequences at most in a measurement


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"device is {name!r}; use cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"device is {name!r}; use cpu, cuda or cuda:N")
    if not _there(name):
        raise InputError(f"device is {name!r}, which is not there; use cpu")
    return device


def _there(name: str) -> bool:
    try:
        device = torch.device(name)
    except RuntimeError:  # a record may say anything
        return False
    return device.type == "cpu" or (
        torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()
    )


@dataclass(frozen=True)
class Engine:
    """How a run is computed; what is "auto" is chosen when the run begins (`settle`).

    device: cpu, cuda or cuda:N; auto is the GPU where there is one. The other fields are said
    above.
    """

    device: str = "auto"
    precision: Precision | Auto = "auto"
    attention: Attention | Auto = "auto"
    compiled: bool | Auto = "auto"
    graph: bool | Auto = "auto"

    def __post_init__(self) -> None:
        for name, kinds in (("precision", Precision), ("attention", Attention)):
            if (value := getattr(self, name)) not in (*get_args(kinds), "auto"):
                raise InputError(f"{name} is {value!r}; use {', '.join(get_args(kinds))} or auto")
        for name in ("compiled", "graph"):
            if (value := getattr(self, name)) not in (True, False, "auto"):
                raise InputError(f"{name} is {value!r}; use True, False or auto")
        if self.device not in ("auto", "cpu"):
            _device(self.device)

    @property
    def where(self) -> torch.device:
        """The device, once settled."""
        return _device(self.device)

    @property
    def dtype(self) -> torch.dtype:
        """What products of matrices are computed in, once settled."""
        return torch.bfloat16 if self.precision == "bfloat16" else torch.float32

    def autocast(self) -> AbstractContextManager[Any]:
        """The context that forward passes are made in."""
        on = self.precision == "bfloat16"
        return torch.autocast(self.where.type, torch.bfloat16, enabled=on)

    def peak(self) -> float:
        """FLOP/s of the device at this precision, as measured on a large product of matrices."""
        return matmul_peak(self.where, self.dtype)


PLAIN = Engine("cpu", "float32", "fused", False, False)
"""The way that needs no measuring."""


def settle(
    engine: Engine, spec: RunSpec, *, began: Mapping[str, Any] | None = None, processes: int = 1
) -> Engine:
    """The engine of a run, with every field decided.

    began: `machine.engine` of the record of a run that goes on, which decides what is "auto".
    processes: how many train the run together; what is measured then is one process's part, and
    nothing is compiled or recorded.
    Raises InputError for a device that is not there.
    """
    settled = _as_it_began(engine, began or {}, processes)
    _refuse_impossible(settled, spec)
    if settled.where.index is not None:  # a recording is made on the current device alone
        torch.cuda.set_device(settled.where)
    at_once = spec.micro_batch or spec.batch // processes
    rows = max(1, min(_ROWS, at_once // spec.shape.n_ctx))
    if settled.precision == "auto":  # 16 bits are held against the better attention of 32
        wide = settled.attention
        if wide == "auto":
            wide = _attention(replace(settled, precision="float32"), spec, rows)
        settled = replace(settled, precision=_precision(settled, wide, spec, rows))
    if settled.attention == "auto":
        settled = replace(settled, attention=_attention(settled, spec, rows))
    if settled.graph == "auto":
        graph = processes == 1 and _graph(settled, spec, rows)
        settled = replace(settled, graph=graph)
    if settled.compiled == "auto":
        pays = processes == 1 and not settled.graph and _pays_to_compile(settled, spec, rows)
        settled = replace(settled, compiled=pays)
    return settled


def settle_together(
    engine: Engine, spec: RunSpec, team: Team, *, began: Mapping[str, Any] | None = None
) -> Engine:
    """As `settle`, the same in every process of a team: each way only if all chose it."""
    if team.size > 1:
        if True in (engine.compiled, engine.graph):
            raise InputError("compiled and graph are for one process alone; leave them out")
        device = str(team.device) if engine.device == "auto" else engine.device
        # Decided here, for a run that began alone may have had them.
        engine = replace(engine, device=device, compiled=False, graph=False)
    engine = settle(engine, spec, began=began, processes=team.size)
    narrow, blocked = all_say(team, [engine.precision == "bfloat16", engine.attention == "blocked"])
    return replace(
        engine,
        precision="bfloat16" if narrow else "float32",
        attention="blocked" if blocked else "fused",
    )


def _as_it_began(engine: Engine, began: Mapping[str, Any], processes: int) -> Engine:
    """Decide device, and what else is "auto" as the record has it where that can be had here."""
    before = str(began.get("device", "auto"))
    if engine.device == "auto" and before != "auto" and _there(before):
        engine = replace(engine, device=before)
    if engine.device == "auto":
        engine = replace(engine, device="cuda" if torch.cuda.is_available() else "cpu")
    fields = asdict(engine)
    moved = before.split(":")[0] != engine.where.type
    for name, value in began.items():
        alone = name in ("compiled", "graph") and processes > 1
        if fields.get(name) == "auto" and not alone and (name == "precision" or not moved):
            fields[name] = value
    return Engine(**fields)


def equip(model: LanguageModel, engine: Engine) -> None:
    """Make a model train as the engine says. It stays where it is: the caller moves it first."""
    for module in model.modules():
        if isinstance(module, AttentionModule):
            module.blocked = engine.attention == "blocked"
    if engine.compiled is True:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # torch's own, as it loads
            model.compiled_loss = torch.compile(model.composed_loss, dynamic=False)


def gradients(model: LanguageModel, engine: Engine, rows: int) -> Gradients:
    """What adds the gradients of a batch to those of the model, as the engine says.

    rows: sequences at a time, 0 for all of a batch at once.
    """
    make = recorded_gradients if engine.graph is True else plain_gradients
    return make(model, engine.where, engine.autocast, rows)


def can_block(spec: RunSpec) -> bool:
    """Whether blocked attention can compute a run: it has neither dropout nor grouped heads."""
    shape = spec.shape
    return shape.kind == "transformer" and not spec.dropout and shape.n_kv_heads == shape.n_heads


def _refuse_impossible(engine: Engine, spec: RunSpec) -> None:
    if engine.attention == "blocked" and not can_block(spec):
        raise InputError(
            "attention is blocked, which takes a transformer without dropout and with as many "
            "heads of keys as of queries; leave it out"
        )
    if engine.graph is True and (engine.where.type != "cuda" or spec.dropout):
        raise InputError("graph is set, which takes a GPU and no dropout; leave it out")


def _attention(engine: Engine, spec: RunSpec, rows: int) -> Attention:
    if not can_block(spec) or engine.where.type != "cpu" or engine.precision == "bfloat16":
        return "fused"
    shape = spec.shape
    sizes = (rows, shape.n_heads, shape.n_ctx, shape.head_size)

    def measure() -> dict[str, float]:
        q, k, v = (torch.randn(sizes, requires_grad=True) for _ in range(3))
        fused = torch.nn.functional.scaled_dot_product_attention
        return best_seconds(
            {
                "fused": lambda: fused(q, k, v, is_causal=True).sum().backward(),  # type: ignore[no-untyped-call]
                "blocked": lambda: blocked_attention(q, k, v).sum().backward(),  # type: ignore[no-untyped-call]
            },
            engine.where,
        )

    seconds = recall("attention", {"sizes": sizes}, measure)
    return "blocked" if seconds["fused"] > _ATTENTION_GAIN * seconds["blocked"] else "fused"


def _precision(engine: Engine, wide: Attention, spec: RunSpec, rows: int) -> Precision:
    if not _has_bfloat16(engine.where) or spec.shape.kind == "lstm":
        return "float32"
    narrow = "fused" if engine.attention == "auto" else engine.attention
    ways = {
        "float32": replace(PLAIN, device=engine.device, attention=wide),
        "bfloat16": replace(PLAIN, device=engine.device, attention=narrow, precision="bfloat16"),
    }
    seconds = _steps("precision", ways, spec.shape, rows)
    faster = seconds["float32"] > _PRECISION_GAIN * seconds["bfloat16"]
    return "bfloat16" if faster else "float32"


def _has_bfloat16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16, rather than by way of 32 bits."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    tests = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in tests)


def _graph(engine: Engine, spec: RunSpec, rows: int) -> bool:
    # Dropout draws from a generator that is seeded at every step, which a recording does not see.
    if engine.where.type != "cuda" or spec.dropout or engine.compiled is True:
        return False
    ways = {name: replace(engine, graph=name == "graph") for name in ("plain", "graph")}
    seconds = _steps("graph", ways, spec.shape, rows)
    return seconds["plain"] > _GRAPH_GAIN * seconds["graph"]


def _pays_to_compile(engine: Engine, spec: RunSpec, rows: int) -> bool:
    if spec.shape.kind == "lstm":  # its recurrence is one call, and there is little else
        return False
    part = rows * spec.shape.n_ctx / spec.tokens_paid
    least = flops_per_token(spec.shape, "exact") * spec.tokens_paid / engine.peak()
    if least * 10 < _WORTH_COMPILING * _COMPILING:  # too short a run even at a tenth of the peak
        return False
    plain = replace(engine, graph=False, compiled=False)
    eager = _steps("eager", {"eager": plain}, spec.shape, rows)["eager"] / part
    if eager < _WORTH_COMPILING * _COMPILING:
        return False
    ways = {"eager": plain, "compiled": replace(plain, compiled=True)}
    seconds = _steps("compiled", ways, spec.shape, rows)
    return (seconds["eager"] - seconds["compiled"]) / part > seconds["compiling"]


def _steps(question: str, ways: Mapping[str, Engine], shape: Shape, rows: int) -> dict[str, float]:
    """Seconds of the gradients of `rows` sequences by each engine; and of compiling, if one is."""
    first = next(iter(ways.values()))
    about = {
        "shape": shape.to_dict(),
        "rows": rows,
        "device": first.where.type,
        "ways": {name: [way.precision, way.attention] for name, way in ways.items()},
    }

    def measure() -> dict[str, float]:
        fewer = rows
        while fewer > 1:
            try:
                return _time(ways, shape, rows, fewer)
            except torch.OutOfMemoryError:
                fewer //= 2
        return _time(ways, shape, rows, 1)

    return recall(question, about, measure)


def _time(ways: Mapping[str, Engine], shape: Shape, rows: int, taken: int) -> dict[str, float]:
    """What `_steps` asks, as measured on `taken` sequences. A way that fails takes forever."""
    plain, where = next(iter(ways)), next(iter(ways.values())).where
    ids = torch.zeros((taken, shape.n_ctx), dtype=torch.long)
    calls: dict[str, Callable[[], object]] = {}
    compiling = 0.0
    # A run draws its weights from torch's generator. No GPU but its own is to be woken.
    with torch.random.fork_rng([where] if where.type == "cuda" else []):
        for name, engine in ways.items():
            model = make_model(shape).to(where)
            equip(model, engine)
            call = partial(gradients(model, engine, 0), ids, ids)
            started = time.perf_counter()
            try:
                call()
            except Exception as error:  # no compiler, or what cannot be recorded
                if name == plain or isinstance(error, torch.OutOfMemoryError):
                    raise
                continue
            calls[name] = call
            if engine.compiled is True:
                compiling = time.perf_counter() - started
    seconds = best_seconds(calls, where)
    scaled = {name: seconds.get(name, math.inf) * rows / taken for name in ways}
    return scaled | {"compiling": compiling}
