"""What training keeps in memory: the count by hand is torch's own, and evaluation stays small."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isoloss.counting import Shape, training_memory

torch = pytest.importorskip("torch", reason="the lab needs torch: install isoloss[lab]")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from train_memory import VARIANT, kept_by_hand  # noqa: E402

from isoloss.lab import evaluate as evaluation  # noqa: E402
from isoloss.lab.engine import Engine, equip  # noqa: E402
from isoloss.lab.evaluate import HeldOut, rows_of_a_pass, token_losses  # noqa: E402
from isoloss.lab.models import make_model  # noqa: E402
from isoloss.lab.training.optim import make_optimizer  # noqa: E402
from isoloss.runs import RunSpec  # noqa: E402

SHAPES = {
    "plain": Shape(n_layer=3, d_model=64, n_heads=4, vocab=100, n_ctx=128),
    "wide vocabulary": Shape(n_layer=1, d_model=32, n_heads=2, vocab=2000, n_ctx=64),
    "gated, rotary": Shape(n_layer=2, d_model=64, n_heads=4, vocab=100, n_ctx=128, **VARIANT),
    "used again": Shape(n_layer=2, d_model=64, n_heads=4, vocab=100, n_ctx=128, reuse=3),
}


@pytest.mark.parametrize("attention", ["fused", "blocked"])
@pytest.mark.parametrize("name", SHAPES)
def test_activations_counted_by_hand_are_those_torch_keeps(name: str, attention: Any) -> None:
    shape = SHAPES[name]
    model = make_model(shape)
    equip(model, Engine("cpu", "float32", attention, False, False))
    own = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}
    held = []

    def keep(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        held.append(storage)  # or its address would be another's
        if storage.data_ptr() not in own and tensor.is_floating_point():
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    ids = torch.randint(0, shape.vocab, (5, shape.n_ctx))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.loss(ids, ids)
    expected = kept_by_hand(shape, ids.numel(), blocked=attention == "blocked")
    assert sum(kept.values()) == pytest.approx(expected, rel=0.02)


def test_states_counted_by_hand_are_those_torch_holds() -> None:
    shape = SHAPES["plain"]
    model = make_model(shape)
    optimizer = make_optimizer(model, RunSpec(shape, tokens=1024, batch=128, lr=1e-3))
    ids = torch.randint(0, shape.vocab, (1, shape.n_ctx))
    model.loss(ids, ids).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    tensors = [t for p in model.parameters() for t in (p, p.grad)]
    tensors += [t for state in optimizer.state.values() for t in state.values() if t.ndim]
    held = sum(t.nbytes for t in tensors if t is not None)
    assert held == training_memory(shape, precision="fp32").total


class Largest(TorchDispatchMode):
    """Notes the most numbers that any result of torch has had."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for one in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(one, torch.Tensor):
                self.numbers = max(self.numbers, one.numel())
        return result


def text_of(shape: Shape, rows: int) -> HeldOut:
    ids = torch.randint(0, shape.vocab, (rows, shape.n_ctx))
    return HeldOut(ids, ids.roll(1, 1), np.zeros(ids.numel(), np.int64))


def test_no_layer_of_an_evaluation_is_larger_than_said() -> None:
    shape = Shape(n_layer=1, d_model=16, n_heads=2, vocab=4096, n_ctx=64)
    data = text_of(shape, 64)
    assert data.tokens * shape.vocab > 4 * evaluation.NUMBERS_PER_PASS["cpu"]
    with Largest() as largest:
        token_losses(make_model(shape), data)
    assert largest.numbers == evaluation.NUMBERS_PER_PASS["cpu"]
    assert rows_of_a_pass(SHAPES["plain"], 128, "cpu") * 128 == evaluation.TOKENS_PER_PASS
    assert rows_of_a_pass(shape, 1 << 20, "cpu") == 1


def test_losses_are_the_same_however_many_contexts_at_once(monkeypatch: Any) -> None:
    shape = SHAPES["wide vocabulary"]
    model, data = make_model(shape), text_of(shape, 37)
    whole = token_losses(model, data)
    monkeypatch.setitem(evaluation.NUMBERS_PER_PASS, "cpu", 3 * 64 * shape.vocab)
    assert rows_of_a_pass(shape, 64, "cpu") == 3
    assert np.allclose(token_losses(model, data), whole, rtol=1e-5, atol=0)
    assert whole.shape == (37, 64)
    assert model.training
