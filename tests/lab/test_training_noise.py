"""Noise lines of a run: what they say, and that nothing else of the run depends on them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isoloss.errors import InputError
from isoloss.lab.tokens import TokenSet
from isoloss.runs import Run, RunSpec, content, noise_along, read_noise, read_record

torch = pytest.importorskip("torch", reason="the lab needs torch: install isoloss[lab]")

from isoloss.lab.engine import PLAIN  # noqa: E402
from isoloss.lab.models import make_model  # noqa: E402
from isoloss.lab.parallel.team import ALONE  # noqa: E402
from isoloss.lab.train import Progress, train  # noqa: E402
from isoloss.lab.training.batches import Batches  # noqa: E402
from isoloss.lab.training.checkpoint import State  # noqa: E402
from isoloss.lab.training.noise import NoiseLines  # noqa: E402


def record(spec: RunSpec, folder: Path) -> Run:
    return read_record(folder / f"{spec.run_id}.jsonl")


def without_noise(run: Run) -> dict[str, Any]:
    return {key: value for key, value in content(run).items() if key != "noise"}


def squared_norm(spec: RunSpec, ids: Any, targets: Any) -> float:
    """Of the gradient of the mean loss at the run's first weights."""
    torch.manual_seed(spec.seed)
    model = make_model(spec.shape, dropout=spec.dropout)
    model.loss(ids, targets).backward()
    return float(sum(p.grad.double().square().sum() for p in model.parameters()))


@pytest.mark.parametrize("micro_batch", [0, 64])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_no_bit_of_a_run_depends_on_what_is_measured(
    spec: RunSpec, tokens: TokenSet, tmp_path: Path, micro_batch: int, dropout: float
) -> None:
    spec = replace(spec, tokens=4_000, micro_batch=micro_batch, dropout=dropout)
    train(spec, tokens, tmp_path / "plain", engine=PLAIN)
    train(spec, tokens, tmp_path / "measured", engine=PLAIN, noise_every=2)
    plain, measured = record(spec, tmp_path / "plain"), record(spec, tmp_path / "measured")
    assert without_noise(measured) == without_noise(plain)
    assert plain.noise == ()
    assert [line.step for line in measured.noise] == list(range(2, spec.steps + 1, 2))
    assert [line.tokens for line in measured.noise] == [256 * line.step for line in measured.noise]
    assert {(line.small, line.big) for line in measured.noise} == {(micro_batch or 32, 256)}


def test_the_norms_are_those_of_the_gradients(
    spec: RunSpec, tokens: TokenSet, tmp_path: Path
) -> None:
    """Before clipping, which makes the norms of these gradients 1."""
    ids, targets = Batches(tokens, spec)(0)
    parts = zip(ids.split(2), targets.split(2), strict=True)
    expected = {
        0: np.mean([squared_norm(spec, ids[i : i + 1], targets[i : i + 1]) for i in range(4)]),
        64: np.mean([squared_norm(spec, *part) for part in parts]),
    }
    for micro_batch, small in expected.items():
        run = replace(spec, tokens=256, micro_batch=micro_batch, clip=1e-3)
        train(run, tokens, tmp_path, engine=PLAIN, noise_every=1)
        (line,) = record(run, tmp_path).noise
        assert line.sq_small == pytest.approx(small, rel=1e-4)
        assert line.sq_big == pytest.approx(squared_norm(spec, ids, targets), rel=1e-4)


def test_a_compiled_run_is_measured_without_the_compiler(
    spec: RunSpec, tokens: TokenSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The compiled function is for the batches alone; torch.compile stands in for by what it is
    given, for a compiler need not be there."""
    seen: list[int] = []

    def compile(function: Any, **options: Any) -> Any:
        def compiled(ids: Any, targets: Any) -> Any:
            seen.append(len(ids))
            return function(ids, targets)

        return compiled

    monkeypatch.setattr(torch, "compile", compile)
    spec = replace(spec, tokens=1024, micro_batch=128)
    train(spec, tokens, tmp_path, engine=replace(PLAIN, compiled=True), noise_every=1)
    assert set(seen) == {4}
    assert {line.small for line in record(spec, tmp_path).noise} == {32}


def test_gradients_of_a_recording_are_measured_where_they_lie(
    spec: RunSpec, tokens: TokenSet
) -> None:
    """A recording hands over gradients that no hook has seen (real ones: `test_gpu`)."""
    spec = replace(spec, micro_batch=64)
    torch.manual_seed(spec.seed)
    model = make_model(spec.shape)
    ids, targets = Batches(tokens, spec)(0)
    held = torch.autograd.grad(model.loss(ids, targets), list(model.parameters()))

    def replay(ids: Any, targets: Any) -> Any:
        for parameter, gradient in zip(model.parameters(), held, strict=True):
            parameter.grad = gradient
        return torch.tensor(1.5)

    noise = NoiseLines(model, replay, 1, spec, replace(PLAIN, graph=True), ALONE)
    lines: list[tuple[int, int, Any]] = []

    class Writer:
        def noise(self, step: int, tokens: int, **found: Any) -> None:
            lines.append((step, tokens, found))

    state = State()
    assert float(noise(ids, targets, state)) == 1.5
    state.step = 1
    noise.write(Writer(), state)  # type: ignore[arg-type]
    noise.write(Writer(), state)  # type: ignore[arg-type]  # nothing was measured since
    ((step, seen, found),) = lines
    assert (step, seen, found["small"], found["big"]) == (1, 256, 32, 256)
    assert found["sq_big"] == pytest.approx(squared_norm(spec, ids, targets), rel=1e-4)
    assert all(p.grad is g for p, g in zip(model.parameters(), held, strict=True))


def test_a_killed_run_goes_on_measuring_where_it_was(
    spec: RunSpec, tokens: TokenSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = replace(spec, tokens=6_000)
    train(spec, tokens, tmp_path / "whole", noise_every=3)
    monkeypatch.setattr("isoloss.lab.train.PROGRESS_SECONDS", 0.0)

    def kill(progress: Progress) -> None:
        if progress.step == 13:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(
            spec,
            tokens,
            tmp_path / "torn",
            on_progress=kill,
            checkpoint_seconds=0.0,
            noise_every=3,
        )
    train(spec, tokens, tmp_path / "torn", noise_every=3)
    assert content(record(spec, tmp_path / "torn")) == content(record(spec, tmp_path / "whole"))


def test_a_record_tells_the_noise_scale_along_the_run(
    spec: RunSpec, tokens: TokenSet, tmp_path: Path
) -> None:
    train(replace(spec, micro_batch=64), tokens, tmp_path, noise_every=1)
    ((series,), notes) = read_noise(tmp_path)
    assert notes == ()
    assert (series.unit, series.tokens_per_sequence, len(series)) == ("tokens", 32, spec.steps)
    windows = noise_along(series, 5)
    assert len(windows) == 5
    assert [w.tokens[1] for w in windows][-1] == spec.steps * spec.batch
    # The noise scale grows while the loss falls; the first stretch is the steepest.
    assert windows[0].scale.high < windows[-1].scale.b_simple


@pytest.mark.parametrize(
    ("options", "every", "says"),
    [
        ({"batch": 32}, 1, "batches of one sequence"),
        ({}, -1, "give a number of steps"),
        ({}, 0.5, "give a number of steps"),
        ({}, True, "give a number of steps"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_written(
    spec: RunSpec, tokens: TokenSet, tmp_path: Path, options: Any, every: Any, says: str
) -> None:
    with pytest.raises(InputError, match=says):
        train(replace(spec, **options), tokens, tmp_path / "runs", noise_every=every)
    assert not (tmp_path / "runs").exists()
