"""Optimizers: what each one does to whom, gradients in parts, and a shared order of the text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from isoloss.counting import Shape
from isoloss.lab.tokens import TokenSet
from isoloss.runs import RunSpec, content, read_record

torch = pytest.importorskip("torch", reason="the lab needs torch: install isoloss[lab]")

from isoloss.lab.models import Transformer  # noqa: E402
from isoloss.lab.train import Progress, train  # noqa: E402
from isoloss.lab.training.batches import Batches  # noqa: E402
from isoloss.lab.training.gradients import backward  # noqa: E402
from isoloss.lab.training.optim import make_optimizer, matrices_inside, set_rate  # noqa: E402

RATES = {"adamw": 0.01, "adam": 0.01, "adafactor": 0.03, "sgd": 0.3, "muon": 0.01}


class Killed(Exception):
    """Stands for a kill: nothing after it runs."""


@pytest.mark.parametrize(
    ("optimizer", "momentum"), [*((name, None) for name in RATES), ("sgd", 0.0), ("muon", 0.0)]
)
def test_every_optimizer_learns_and_goes_on_bit_for_bit(
    spec: RunSpec,
    tokens: TokenSet,
    tmp_path: Path,
    monkeypatch: Any,
    optimizer: Any,
    momentum: float | None,
) -> None:
    run = replace(spec, tokens=10_240, eval_block=512, eval_final=1024)
    run = replace(run, optimizer=optimizer, momentum=momentum, lr=RATES[optimizer])
    end = train(run, tokens, tmp_path / "whole")
    whole = read_record(tmp_path / "whole" / f"{run.run_id}.jsonl")
    assert end.loss < whole.points[0].loss - 0.2
    monkeypatch.setattr("isoloss.lab.train.PROGRESS_SECONDS", 0.0)

    def kill(progress: Progress) -> None:
        if progress.step == 20:
            raise Killed

    with pytest.raises(Killed):
        train(run, tokens, tmp_path / "torn", on_progress=kill, checkpoint_seconds=0.0)
    train(run, tokens, tmp_path / "torn")
    torn = read_record(tmp_path / "torn" / f"{run.run_id}.jsonl")
    assert content(torn) == content(whole)


def step_without_gradient(spec: RunSpec) -> dict[str, float]:
    """By how much one step at rate 0.1 shrinks each parameter whose gradient is zero."""
    torch.manual_seed(0)
    model = Transformer(spec.shape)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer = make_optimizer(model, spec)
    set_rate(optimizer, 0.1)
    optimizer.step()
    return {
        name: float(p.detach().norm() / before[name].norm())
        for name, p in model.named_parameters()
        if before[name].norm()
    }


@pytest.mark.parametrize("optimizer", RATES)
def test_matrices_and_embeddings_are_decayed_and_nothing_else(
    spec: RunSpec, optimizer: Any
) -> None:
    shape = replace(spec.shape, tied=False)
    run = replace(spec, shape=shape, optimizer=optimizer, weight_decay=0.2)
    shrunk = step_without_gradient(run)
    decayed = 1.0 if optimizer == "adam" else 1 - 0.1 * 0.2
    for name, ratio in shrunk.items():
        one_dimensional = "norm" in name or name.endswith("bias")
        assert ratio == pytest.approx(1.0 if one_dimensional else decayed, rel=1e-6), name
    assert "head.weight" in shrunk


def test_momentum_adds_up_what_came_before(spec: RunSpec) -> None:
    run = replace(spec, optimizer="sgd", momentum=0.75, weight_decay=0.0)
    torch.manual_seed(0)
    model = Transformer(run.shape)
    weight = model.token_embedding.weight
    before, gradient = weight.detach().clone(), torch.ones_like(weight)
    optimizer = make_optimizer(model, run)
    set_rate(optimizer, 0.5)
    for _ in range(3):
        weight.grad = gradient.clone()
        optimizer.step()
    # Steps of 1, 1.75 and 1 + 0.75 * 1.75.
    torch.testing.assert_close(before - weight.detach(), 0.5 * (2.75 + 2.3125) * gradient)


def test_muon_turns_matrices_inside_and_adamw_the_rest(spec: RunSpec, tokens: TokenSet) -> None:
    """The one object against the two optimizers of torch that it is made of, step for step."""
    run = replace(spec, shape=replace(spec.shape, tied=False), optimizer="muon")
    batches = Batches(tokens, run)
    models = []
    for _ in range(2):
        torch.manual_seed(3)
        models.append(Transformer(run.shape))
    one, other = models
    inside = {name for name, p in other.named_parameters() if name.startswith("blocks.")}
    matrices = [p for n, p in other.named_parameters() if n in inside and p.ndim == 2]
    assert [id(p) for p in matrices_inside(other)] == [id(p) for p in matrices]
    rest = [p for n, p in other.named_parameters() if n not in inside or p.ndim < 2]
    apart: tuple[Any, ...] = (
        torch.optim.Muon(matrices, lr=0.01, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(
            [
                {"params": [p for p in rest if p.ndim == 2], "weight_decay": 0.1},
                {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
            ],
            lr=0.01,
            betas=(0.9, 0.95),
            fused=True,
        ),
    )
    whole = make_optimizer(one, run)
    for step in range(3):
        for model, optimizers in ((one, (whole,)), (other, apart)):
            model.loss(*batches(step)).backward()
            for optimizer in optimizers:
                set_rate(optimizer, 0.003 * (step + 1))
                optimizer.step()
                optimizer.zero_grad()
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_an_update_by_muon_is_as_large_as_one_by_adamw(spec: RunSpec, tokens: TokenSet) -> None:
    sizes = {}
    for optimizer in ("muon", "adamw"):
        run = replace(spec, optimizer=optimizer, weight_decay=0.0)
        torch.manual_seed(3)
        model = Transformer(run.shape)
        stepper = make_optimizer(model, run)
        batches = Batches(tokens, run)
        matrix = model.blocks[0].attention.qkv.weight
        for step in range(12):
            model.loss(*batches(step)).backward()
            before = matrix.detach().clone()
            stepper.step()
            stepper.zero_grad()
        sizes[optimizer] = float((matrix.detach() - before).square().mean().sqrt())
    # Each of Muon's updates has a root mean square of about 0.2 of the rate, by construction.
    assert sizes["muon"] == pytest.approx(0.2 * spec.lr, rel=0.3)
    assert 0.2 < sizes["muon"] / sizes["adamw"] < 2


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_gradients_in_parts_are_those_of_the_whole(
    spec: RunSpec, tokens: TokenSet, rows: int
) -> None:
    torch.manual_seed(0)
    model = Transformer(spec.shape)
    batch = Batches(tokens, spec)(0)
    whole = backward(model, *batch)
    gradients = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    parts = backward(model, *batch, rows)
    torch.testing.assert_close(parts, whole, rtol=1e-6, atol=0)
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-7)
        assert gradient.any()


def test_a_run_in_parts_ends_where_the_whole_one_does(
    spec: RunSpec, tokens: TokenSet, tmp_path: Path
) -> None:
    whole = train(spec, tokens, tmp_path)
    parts = train(replace(spec, micro_batch=64), tokens, tmp_path)
    assert parts.loss != whole.loss  # another order of adding: another run, by its name too
    assert parts.loss == pytest.approx(whole.loss, rel=1e-3)


def test_runs_share_the_order_of_the_text_where_they_say_so(
    spec: RunSpec, tokens: TokenSet
) -> None:
    wide = Shape(n_layer=1, d_model=48, n_heads=3, vocab=256, n_ctx=32)
    own, other = replace(spec, seed=5), replace(spec, seed=6, shape=wide, data_seed=5)
    for step in (0, 3, Batches(tokens, own).per_epoch + 2):
        assert torch.equal(Batches(tokens, own)(step)[0], Batches(tokens, other)(step)[0])
    assert not torch.equal(
        Batches(tokens, own)(0)[0], Batches(tokens, replace(other, data_seed=None))(0)[0]
    )
