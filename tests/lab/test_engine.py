"""How a run is computed: what is measured decides it, is kept, and stands in the record."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from isoloss.counting import Shape
from isoloss.errors import InputError
from isoloss.lab.tokens import TokenSet
from isoloss.runs import Run, RunSpec, read_record

torch = pytest.importorskip("torch", reason="the lab needs torch: install isoloss[lab]")

from isoloss.lab import engine as module  # noqa: E402
from isoloss.lab.engine import PLAIN, Engine, equip, gradients, settle  # noqa: E402
from isoloss.lab.models import make_model  # noqa: E402
from isoloss.lab.train import Progress, train  # noqa: E402
from isoloss.lab.training import speeds  # noqa: E402

LSTM = Shape(kind="lstm", n_layer=1, d_model=16, n_heads=0, vocab=256, n_ctx=32)
UNDECIDED = replace(PLAIN, precision="auto", attention="auto", graph="auto", compiled="auto")


class Killed(Exception):
    """Stands for a kill: nothing after it runs."""


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of measurements of each test's own; what is compiled is its own too."""
    place = tmp_path / "speeds"
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    monkeypatch.setenv("ISOLOSS_SPEEDS", str(place))
    return place


@pytest.fixture
def short(spec: RunSpec) -> RunSpec:
    """A run of 32 steps."""
    return replace(spec, tokens=8192, eval_points=1, eval_final=4096)


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Seconds that every measurement gives from here on, by the name of the way."""
    seconds: dict[str, float] = {}

    def measured(
        ways: Mapping[str, Callable[[], object]], device: object, *, repeats: int = 5
    ) -> dict[str, float]:
        return {name: seconds[name] for name in ways}

    monkeypatch.setattr(speeds, "best_seconds", measured)
    monkeypatch.setattr(module, "best_seconds", measured)
    return seconds


def record(spec: RunSpec, folder: Path) -> Run:
    return read_record(folder / f"{spec.run_id}.jsonl")


@pytest.mark.parametrize(("ratio", "chosen"), [(1.06, "blocked"), (1.04, "fused"), (0.5, "fused")])
def test_attention_is_blocked_where_that_is_a_twentieth_faster(
    spec: RunSpec, timed: dict[str, float], ratio: float, chosen: str
) -> None:
    timed |= {"fused": ratio, "blocked": 1.0}
    assert settle(replace(PLAIN, attention="auto"), spec).attention == chosen


def test_what_blocks_cannot_compute_is_not_asked(spec: RunSpec, timed: dict[str, float]) -> None:
    open_ = replace(PLAIN, attention="auto")
    assert settle(open_, replace(spec, dropout=0.1)).attention == "fused"
    grouped = replace(spec, shape=replace(spec.shape, n_kv_heads=1))
    assert settle(open_, grouped).attention == "fused"
    assert settle(replace(open_, precision="bfloat16"), spec).attention == "fused"


@pytest.mark.parametrize(
    ("there", "ratio", "chosen"),
    [(True, 1.2, "bfloat16"), (True, 1.05, "float32"), (False, 9.0, "float32")],
)
def test_numbers_are_narrow_where_the_device_has_them_and_a_step_is_faster(
    spec: RunSpec,
    timed: dict[str, float],
    monkeypatch: pytest.MonkeyPatch,
    there: bool,
    ratio: float,
    chosen: str,
) -> None:
    timed |= {"float32": ratio, "bfloat16": 1.0}
    monkeypatch.setattr(module, "_has_bfloat16", lambda device: there)
    assert settle(replace(PLAIN, precision="auto"), spec).precision == chosen


def test_compiling_pays_when_it_gains_more_than_it_costs(
    spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    part = 8 * 32 / spec.tokens_seen  # of the run, that a measurement is of
    answers = {"eager": 1000 * part, "compiled": 500 * part, "compiling": 400.0}

    def answer(question: str, *_: object) -> dict[str, float]:
        asked.append(question)
        return answers

    monkeypatch.setattr(module, "_steps", answer)
    # The shortest that the run could be, at the machine's peak, is 100 seconds.
    monkeypatch.setattr(module, "matmul_peak", lambda *_: spec.flops("exact") / 100)
    open_ = replace(PLAIN, compiled="auto")
    assert settle(open_, spec).compiled is True
    answers["compiling"] = 600.0
    assert settle(open_, spec).compiled is False
    # A run of 599 seconds is no 20 times as long as compiling takes: nothing is compiled to see.
    asked.clear()
    answers |= {"eager": 599 * part, "compiling": 0.0}
    assert settle(open_, spec).compiled is False
    assert asked == ["eager"]
    # Nor is anything measured of one that would be shorter at a tenth of the peak.
    asked.clear()
    monkeypatch.setattr(module, "matmul_peak", lambda *_: spec.flops("exact") / 50)
    assert settle(open_, spec).compiled is False
    assert asked == []
    assert settle(open_, replace(spec, shape=LSTM)).compiled is False


def test_a_short_run_on_a_processor_is_neither_compiled_nor_recorded(spec: RunSpec) -> None:
    settled = settle(UNDECIDED, spec)
    assert settled.compiled is False
    assert settled.graph is False
    assert "auto" not in asdict(settled).values()


def test_what_is_measured_is_kept_and_decides_again(
    spec: RunSpec, kept: Path, timed: dict[str, float]
) -> None:
    timed |= {"fused": 2.0, "blocked": 1.0}
    open_ = replace(PLAIN, attention="auto")
    assert settle(open_, spec).attention == "blocked"
    timed |= {"fused": 1.0, "blocked": 2.0}
    assert settle(open_, spec).attention == "blocked"
    (file,) = kept.glob("*.json")
    asked = json.loads(file.read_text())["asked"]
    assert asked["question"] == "attention"
    assert asked["torch"] == torch.__version__
    assert asked["threads"] == torch.get_num_threads()
    # A shape that was not asked about is measured.
    wider = replace(spec, shape=replace(spec.shape, d_model=32, d_attn=32))
    assert settle(open_, wider).attention == "fused"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"answer": 1}', '{"answer": {"fused": "fast"}}', '{"asked": {}}']
)
def test_a_kept_file_that_is_damaged_is_measured_again(
    spec: RunSpec, kept: Path, timed: dict[str, float], text: str
) -> None:
    timed |= {"fused": 2.0, "blocked": 1.0}
    open_ = replace(PLAIN, attention="auto")
    settle(open_, spec)
    (file,) = kept.glob("*.json")
    file.write_text(text)
    timed |= {"fused": 1.0, "blocked": 2.0}
    assert settle(open_, spec).attention == "fused"
    # And is good again.
    timed |= {"fused": 2.0, "blocked": 1.0}
    assert settle(open_, spec).attention == "fused"
    assert list(kept.iterdir()) == [file]


def test_where_nothing_can_be_kept_each_measures_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ISOLOSS_SPEEDS", str(tmp_path / "file" / "speeds"))
    assert speeds.recall("a question", {}, lambda: {"answer": 1.0}) == {"answer": 1.0}
    assert speeds.recall("a question", {}, lambda: {"answer": 2.0}) == {"answer": 2.0}


def test_two_that_measure_at_once_take_the_first_ones_answer(kept: Path) -> None:
    both, first_done = threading.Barrier(2), threading.Event()
    found: dict[str, dict[str, float]] = {}

    def first() -> dict[str, float]:
        both.wait(10)  # until the other one has begun to measure too
        return {"answer": 1.0}

    def second() -> dict[str, float]:
        both.wait(10)
        assert first_done.wait(10)
        return {"answer": 2.0}

    def ask_first() -> None:
        found["first"] = speeds.recall("a question", {"about": 1}, first)
        first_done.set()

    asking = threading.Thread(target=ask_first)
    asking.start()
    found["second"] = speeds.recall("a question", {"about": 1}, second)
    asking.join()
    assert found == {"first": {"answer": 1.0}, "second": {"answer": 1.0}}
    assert len(list(kept.iterdir())) == 1


def test_measuring_takes_the_least_of_several_and_leaves_out_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, left = [0.0], {"way": [1.0, 7.0, 3.0, 5.0], "other": [2.0, 4.0, 6.0, 8.0]}

    def way(name: str) -> None:
        now[0] += left[name].pop(0)

    monkeypatch.setattr(speeds.time, "perf_counter", lambda: now[0])
    ways = {name: partial(way, name) for name in left}
    took = speeds.best_seconds(ways, torch.device("cpu"), repeats=3)
    assert took == {"way": 3.0, "other": 4.0}


def test_measuring_leaves_the_generator_of_the_weights_alone(spec: RunSpec) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    module._steps("eager", {"eager": PLAIN}, spec.shape, 2)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_killed_run_goes_on_as_it_began_though_nothing_is_kept(
    short: RunSpec,
    tokens: TokenSet,
    folder: Path,
    tmp_path: Path,
    timed: dict[str, float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timed |= {"fused": 2.0, "blocked": 1.0, "product": 1.0}
    open_ = replace(PLAIN, attention="auto")
    train(short, tokens, tmp_path / "whole", engine=open_)
    monkeypatch.setattr("isoloss.lab.train.PROGRESS_SECONDS", 0.0)

    def kill(progress: Progress) -> None:
        if progress.step == 20:
            raise Killed

    with pytest.raises(Killed):
        train(short, tokens, folder, engine=open_, on_progress=kill, checkpoint_seconds=0.0)
    timed |= {"fused": 1.0, "blocked": 2.0}
    monkeypatch.setenv("ISOLOSS_SPEEDS", str(tmp_path / "none"))
    assert settle(open_, short).attention == "fused"
    end = train(short, tokens, folder, engine=open_)
    assert record(short, folder).machine["engine"]["attention"] == "blocked"
    assert end.loss == record(short, tmp_path / "whole").end.loss  # type: ignore[union-attr]


def test_what_a_record_says_is_followed_as_far_as_it_can_be_here(
    spec: RunSpec, timed: dict[str, float]
) -> None:
    timed |= {"fused": 2.0, "blocked": 1.0}
    began = asdict(replace(PLAIN, precision="bfloat16", compiled=True))
    assert asdict(settle(Engine(), spec, began=began)) == began
    # By several processes nothing is compiled, and precision and attention stay.
    together = settle(Engine(device="cpu"), spec, began=began, processes=2)
    assert asdict(together) == began | {"compiled": False}
    # What was wished for goes before the record.
    assert settle(Engine(precision="float32"), spec, began=began).precision == "float32"
    # A recording on a GPU goes on without one where there is none; the precision is the run's.
    gone = began | {"device": "cuda:99", "graph": True, "compiled": False}
    here = settle(replace(PLAIN, device="cpu", precision="auto", graph="auto"), spec, began=gone)
    assert (here.precision, here.graph) == ("bfloat16", False)
    nowhere = settle(replace(PLAIN, device="auto"), spec, began=began | {"device": "foo"})
    assert nowhere.device in ("cpu", "cuda")
    # A record of before there were engines decides nothing.
    assert settle(replace(PLAIN, attention="auto"), spec, began={}).attention == "blocked"


def test_a_way_that_fails_is_not_taken_and_not_remembered(
    spec: RunSpec, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> object:
        raise RuntimeError("no compiler")

    ways = {"eager": PLAIN, "compiled": replace(PLAIN, compiled=True)}
    with monkeypatch.context() as without:
        without.setattr(torch, "compile", lambda *_, **__: broken)
        seconds = module._steps("compiled", ways, spec.shape, 2)
    assert 0 < seconds["eager"] < seconds["compiled"] == float("inf")
    assert not list(kept.glob("*"))
    monkeypatch.setattr(module, "gradients", broken)
    with pytest.raises(RuntimeError, match="no compiler"):
        module._steps("eager", {"eager": PLAIN}, spec.shape, 2)


def test_a_measurement_without_memory_takes_fewer_sequences(
    spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def narrow(model: object, engine: Engine, rows: int) -> Callable[..., None]:
        def call(ids: Any, targets: Any) -> None:
            tried.append(len(ids))
            if len(ids) > 3:
                raise torch.OutOfMemoryError("CUDA out of memory")

        return call

    monkeypatch.setattr(module, "gradients", narrow)
    monkeypatch.setattr(module, "best_seconds", lambda ways, device: dict.fromkeys(ways, 1.0))
    assert module._steps("eager", {"eager": PLAIN}, spec.shape, 8)["eager"] == 4.0
    assert tried == [8, 4, 2]


def test_what_is_measured_is_a_part_of_the_batch_that_is_computed_at_once(
    spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []

    def note(engine: Engine, spec: RunSpec, taken: int) -> str:
        rows.append(taken)
        return "fused"

    monkeypatch.setattr(module, "_attention", note)
    open_ = replace(PLAIN, attention="auto")
    settle(open_, spec)
    settle(open_, spec, processes=4)
    settle(open_, replace(spec, micro_batch=128))
    settle(open_, replace(spec, batch=32 * 400))
    assert rows == [8, 2, 4, 16]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"device": "tpu"}, "device is 'tpu'; use cpu, cuda or cuda:N"),
        ({"device": "xla"}, "device is 'xla'; use cpu, cuda or cuda:N"),
        ({"device": "cuda:99"}, "device is 'cuda:99', which is not there; use cpu"),
        ({"precision": "float16"}, "precision is 'float16'; use float32, bfloat16 or auto"),
        ({"attention": "flash"}, "attention is 'flash'; use fused, blocked or auto"),
        ({"compiled": "yes"}, "compiled is 'yes'; use True, False or auto"),
        ({"graph": "no"}, "graph is 'no'; use True, False or auto"),
    ],
)
def test_a_wish_that_is_none_is_refused_in_a_line(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as raised:
        Engine(**fields)
    assert str(raised.value) == said


def test_a_wish_that_cannot_be_is_refused_in_a_line(spec: RunSpec) -> None:
    with pytest.raises(InputError, match=r"attention is blocked, which takes .* without dropout"):
        settle(replace(PLAIN, attention="blocked"), replace(spec, dropout=0.1))
    with pytest.raises(InputError, match="graph is set, which takes a GPU"):
        settle(replace(PLAIN, graph=True), spec)


def test_blocked_attention_trains_to_the_loss_of_fused(
    short: RunSpec, tokens: TokenSet, tmp_path: Path
) -> None:
    losses = [
        train(short, tokens, tmp_path / way, engine=replace(PLAIN, attention=way)).loss
        for way in ("fused", "blocked")
    ]
    assert losses[0] != losses[1]  # another order of sums
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)


VARIANTS = {
    "rotary": {"positions": "rotary", "gated": True, "norm": "rmsnorm", "bias": False},
    "untied": {"tied": False},
    "grouped": {"n_kv_heads": 1},
    "lstm": {},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_narrow_numbers_train_nearly_as_well(
    short: RunSpec, tokens: TokenSet, tmp_path: Path, variant: str
) -> None:
    shape = LSTM if variant == "lstm" else replace(short.shape, **VARIANTS[variant])
    run = replace(short, shape=shape)
    losses = [
        train(run, tokens, tmp_path / precision, engine=replace(PLAIN, precision=precision)).loss
        for precision in ("float32", "bfloat16")
    ]
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


@pytest.mark.parametrize(
    "fields", [{"optimizer": name} for name in ("adafactor", "sgd", "muon")] + [{"micro_batch": 64}]
)
def test_narrow_numbers_serve_every_optimizer(
    short: RunSpec, tokens: TokenSet, tmp_path: Path, fields: dict[str, Any]
) -> None:
    run = replace(short, **fields)
    losses = [
        train(run, tokens, tmp_path / precision, engine=replace(PLAIN, precision=precision)).loss
        for precision in ("float32", "bfloat16")
    ]
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_the_record_says_how_a_run_was_computed_and_how_fast(
    short: RunSpec, tokens: TokenSet, folder: Path
) -> None:
    end = train(short, tokens, folder)
    machine = record(short, folder).machine
    assert set(machine["engine"]) == {"device", "precision", "attention", "compiled", "graph"}
    assert "auto" not in machine["engine"].values()
    assert machine["matmul_flops_per_second"] > 1e8
    kept_end = record(short, folder).end
    assert kept_end == end
    assert 0 < end.utilisation < 1.5
    assert end.flops_per_second == pytest.approx(
        end.utilisation * machine["matmul_flops_per_second"]
    )
    exact = short.flops("exact") / short.tokens_seen
    assert end.flops_per_second == pytest.approx(end.tokens_per_second * exact)
    assert end.peak_memory_gb > 0


@pytest.mark.full
@pytest.mark.parametrize("attention", ["fused", "blocked"])
@pytest.mark.parametrize("variant", ["rotary", "untied"])
@pytest.mark.filterwarnings("default")
def test_a_compiled_run_trains_to_the_loss_of_an_eager_one(
    short: RunSpec, tokens: TokenSet, tmp_path: Path, variant: str, attention: Any
) -> None:
    run = replace(short, shape=replace(short.shape, **VARIANTS[variant]))
    plain = replace(PLAIN, attention=attention)
    eager = train(run, tokens, tmp_path / "eager", engine=plain)
    torch._dynamo.reset()
    compiled = train(run, tokens, tmp_path / "compiled", engine=replace(plain, compiled=True))
    assert compiled.loss == pytest.approx(eager.loss, abs=1e-4)


@pytest.mark.full
@pytest.mark.filterwarnings("default")
def test_a_compiled_run_takes_batches_in_parts_and_narrow(
    short: RunSpec, tokens: TokenSet, tmp_path: Path
) -> None:
    run = replace(short, micro_batch=64)
    engine = replace(PLAIN, precision="bfloat16")
    eager = train(run, tokens, tmp_path / "eager", engine=engine)
    torch._dynamo.reset()
    compiled = train(run, tokens, tmp_path / "compiled", engine=replace(engine, compiled=True))
    assert compiled.loss == pytest.approx(eager.loss, rel=5e-3)


def test_gradients_in_parts_are_those_of_the_whole(spec: RunSpec) -> None:
    torch.manual_seed(3)
    model = make_model(spec.shape)
    equip(model, PLAIN)
    ids = torch.randint(256, (7, 33))
    found = []
    for rows in (0, 3):
        loss = gradients(model, PLAIN, rows)(ids[:, :-1], ids[:, 1:])
        found.append([loss, *(p.grad for p in model.parameters())])
        model.zero_grad(set_to_none=True)
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.filterwarnings("default")
def test_every_tensor_of_a_step_is_made_where_the_model_is(
    spec: RunSpec, variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *_: False)  # "meta" has none
    shape = LSTM if variant == "lstm" else replace(spec.shape, **VARIANTS[variant])
    for dropout, blocked in ((0.0, False), (0.1, False), (0.0, variant == "rotary")):
        model = make_model(shape, dropout=dropout).to("meta")
        equip(model, replace(PLAIN, attention="blocked" if blocked else "fused"))
        ids = torch.zeros((4, shape.n_ctx), dtype=torch.long, device="meta")
        mean = model.loss(ids, ids)
        mean.backward()
        assert mean.device.type == "meta"
        assert all(p.grad is not None and p.grad.is_meta for p in model.parameters())
        with torch.no_grad():
            assert model.eval().loss(ids, ids, reduction="none").is_meta
