"""On a GPU: the numbers of the processor, by whichever way they are computed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from isoloss.counting import Shape
from isoloss.lab.tokens import TokenSet
from isoloss.runs import RunSpec, read_record

torch = pytest.importorskip("torch", reason="the lab needs torch: install isoloss[lab]")
if not torch.cuda.is_available():
    pytest.skip("needs a GPU", allow_module_level=True)

from isoloss.lab.engine import PLAIN, Engine, gradients  # noqa: E402
from isoloss.lab.models import make_model  # noqa: E402
from isoloss.lab.sweep import run_sweep  # noqa: E402
from isoloss.lab.train import Progress, train  # noqa: E402

GPU = replace(PLAIN, device="cuda")
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "modern": {"positions": "rotary", "gated": True, "norm": "rmsnorm", "bias": False},
    "untied": {"tied": False},
    "grouped": {"n_kv_heads": 1},
    "reused": {"reuse": 2},
}
LSTM = Shape(kind="lstm", n_layer=2, d_model=16, n_heads=0, vocab=256, n_ctx=32)


class Killed(Exception):
    """Stands for a kill: nothing after it runs."""


def shaped(spec: RunSpec, variant: str) -> RunSpec:
    shape = LSTM if variant == "lstm" else replace(spec.shape, **VARIANTS[variant])
    return replace(spec, shape=shape, tokens=8192, eval_points=2, eval_final=4096)


@pytest.mark.parametrize("variant", [*VARIANTS, "lstm"])
def test_a_run_ends_where_the_processor_ends_it(
    spec: RunSpec, tokens: TokenSet, tmp_path: Path, variant: str
) -> None:
    run = shaped(spec, variant)
    here = train(run, tokens, tmp_path / "cpu", engine=PLAIN)
    there = train(run, tokens, tmp_path / "gpu", engine=GPU)
    assert there.loss == pytest.approx(here.loss, abs=2e-3)
    assert there.peak_memory_gb > 0
    assert 0 < there.utilisation < 1.5
    assert read_record(tmp_path / "gpu" / f"{run.run_id}.jsonl").machine["gpu"]


@pytest.mark.parametrize("variant", [*VARIANTS, "lstm"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("micro", [0, 64])
def test_a_recording_gives_the_loss_of_what_it_recorded(
    spec: RunSpec, tokens: TokenSet, tmp_path: Path, variant: str, precision: Any, micro: int
) -> None:
    run = replace(shaped(spec, variant), micro_batch=micro)
    plain = replace(GPU, precision=precision)
    one = train(run, tokens, tmp_path / "plain", engine=plain)
    other = train(run, tokens, tmp_path / "graph", engine=replace(plain, graph=True))
    assert other.loss == pytest.approx(one.loss, abs=1e-4 if precision == "float32" else 1e-2)


@pytest.mark.parametrize("variant", ["plain", "lstm"])
@pytest.mark.parametrize("micro", [0, 64])
def test_a_recorded_run_measures_its_noise_beside_the_recording(
    spec: RunSpec, tokens: TokenSet, tmp_path: Path, variant: str, micro: int
) -> None:
    """The loss is that without, and the norms are those of a run that is not recorded."""
    run = replace(shaped(spec, variant), micro_batch=micro)
    graph = replace(GPU, graph=True)
    without = train(run, tokens, tmp_path / "without", engine=graph)
    end = train(run, tokens, tmp_path / "graph", engine=graph, noise_every=4)
    assert end.loss == pytest.approx(without.loss, abs=1e-4)
    train(replace(run, micro_batch=0), tokens, tmp_path / "plain", engine=GPU, noise_every=4)
    (one,), (other,) = (
        [read_record(path) for path in (tmp_path / place).glob("*.jsonl")]
        for place in ("graph", "plain")
    )
    assert len(one.noise) == len(other.noise) == run.steps // 4
    first, expected = one.noise[0], other.noise[0]
    assert (first.small, first.big) == (32, 256)
    assert first.sq_small == pytest.approx(expected.sq_small, rel=0.02)
    assert first.sq_big == pytest.approx(expected.sq_big, rel=0.02)


def test_a_recording_is_written_anew_each_time(spec: RunSpec) -> None:
    torch.manual_seed(0)
    model = make_model(spec.shape).to("cuda")
    recorded = gradients(model, replace(GPU, graph=True), 3)
    plain = gradients(model, GPU, 0)
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(256, (8, 33), generator=generator)
        batch = ids[:, :-1], ids[:, 1:]
        found = [recorded(*batch).clone(), *(p.grad.clone() for p in model.parameters())]
        model.zero_grad(set_to_none=True)
        expected = [plain(*batch), *(p.grad for p in model.parameters())]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
        model.zero_grad(set_to_none=True)


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "adafactor", "sgd", "muon"])
@pytest.mark.parametrize("graph", [False, True])
def test_a_killed_run_goes_on(
    spec: RunSpec,
    tokens: TokenSet,
    tmp_path: Path,
    optimizer: Any,
    graph: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = replace(shaped(spec, "plain"), optimizer=optimizer)
    engine = replace(GPU, graph=graph)
    train(run, tokens, tmp_path / "whole", engine=engine)
    monkeypatch.setattr("isoloss.lab.train.PROGRESS_SECONDS", 0.0)

    def kill(progress: Progress) -> None:
        if progress.step == 20:
            raise Killed

    with pytest.raises(Killed):
        train(run, tokens, tmp_path / "torn", engine=engine, on_progress=kill, checkpoint_seconds=0)
    train(run, tokens, tmp_path / "torn", engine=engine)
    name = f"{run.run_id}.jsonl"
    found, whole = (read_record(tmp_path / which / name) for which in ("torn", "whole"))
    assert [p.step for p in found.points] == [p.step for p in whole.points]
    assert found.end is not None
    assert whole.end is not None
    assert found.end.loss == pytest.approx(whole.end.loss, abs=1e-4)


@pytest.mark.parametrize("fields", [{"dropout": 0.1}, {"patience": 2}])
def test_what_a_run_may_ask_for_works_there(
    spec: RunSpec, tokens: TokenSet, tmp_path: Path, fields: dict[str, Any]
) -> None:
    run = replace(shaped(spec, "plain"), **fields)
    first, second = (train(run, tokens, tmp_path / name, engine=GPU) for name in "ab")
    assert first.status == "finished"
    # What is dropped is a function of seed and step there too.
    assert second.loss == pytest.approx(first.loss, abs=1e-3)


@pytest.mark.parametrize("variant", [*VARIANTS, "lstm"])
def test_narrow_numbers_train_nearly_as_well(
    spec: RunSpec, tokens: TokenSet, tmp_path: Path, variant: str
) -> None:
    run = shaped(spec, variant)
    wide = train(run, tokens, tmp_path / "wide", engine=GPU)
    narrow = train(run, tokens, tmp_path / "narrow", engine=replace(GPU, precision="bfloat16"))
    assert narrow.loss != wide.loss
    assert narrow.loss == pytest.approx(wide.loss, rel=0.02)


@pytest.mark.full
@pytest.mark.filterwarnings("default")
def test_a_compiled_run_trains_to_the_loss_of_an_eager_one(
    spec: RunSpec, tokens: TokenSet, tmp_path: Path
) -> None:
    run = shaped(spec, "modern")
    eager = train(run, tokens, tmp_path / "eager", engine=GPU)
    compiled = train(run, tokens, tmp_path / "compiled", engine=replace(GPU, compiled=True))
    assert compiled.loss == pytest.approx(eager.loss, abs=1e-3)


def test_what_is_chosen_there_is_the_gpu(spec: RunSpec, tokens: TokenSet, tmp_path: Path) -> None:
    run = shaped(spec, "plain")
    train(run, tokens, tmp_path, engine=Engine())
    chosen = read_record(tmp_path / f"{run.run_id}.jsonl").machine["engine"]
    assert chosen["device"] == "cuda"
    assert "auto" not in chosen.values()


@pytest.mark.full
def test_a_sweep_trains_several_at_once(spec: RunSpec, tokens: TokenSet, folder: Path) -> None:
    specs = [replace(shaped(spec, "plain"), seed=seed) for seed in range(4)]
    result = run_sweep(specs, tokens.folder, folder, progress=lambda _: None)
    assert result.counts["finished"] == 4
