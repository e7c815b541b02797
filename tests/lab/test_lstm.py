"""The LSTM: its size is the count of its shape, it is an LSTM by the book, and it learns."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isoloss.counting import Shape, activation_bytes, count_params, flops_per_token, params_by_group
from isoloss.errors import InputError
from isoloss.lab.tokens import TokenSet, prepare
from isoloss.runs import RunSpec

torch = pytest.importorskip("torch", reason="the lab needs torch: install isoloss[lab]")

from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from isoloss.lab.corpus.python_stdlib import read_python_stdlib  # noqa: E402
from isoloss.lab.models import LSTM, Transformer, make_model  # noqa: E402
from isoloss.lab.train import train  # noqa: E402

BASE = Shape.lstm(2, 20, 53, 24)
VARIANTS = {
    "one layer": Shape.lstm(1, 20, 53, 24),
    "two layers": BASE,
    "four layers": Shape.lstm(4, 12, 53, 24),
    "untied": replace(BASE, tied=False),
    "no biases": replace(BASE, bias=False),
}


def by_the_book(model: Any, ids: Any) -> Any:
    """The logits of an LSTM, gate by gate and token by token, from the equations.

    i, f, o = sigmoid(W x + b + U h + c), g = tanh(...); cell = f cell + i g; h = o tanh(cell).
    """
    x = model.token_embedding(ids)
    for layer in range(model.shape.n_layer):
        names = [f"weight_ih_l{layer}", f"weight_hh_l{layer}"]
        into, back = (getattr(model.recurrent, name) for name in names)
        bias = 0.0
        if model.shape.bias:
            both = [getattr(model.recurrent, f"bias_{kind}_l{layer}") for kind in ("ih", "hh")]
            bias = both[0] + both[1]
        h = cell = torch.zeros(len(ids), model.shape.d_model, dtype=x.dtype)
        seen = []
        for t in range(ids.shape[1]):
            i, f, g, o = (x[:, t] @ into.T + h @ back.T + bias).chunk(4, dim=1)
            cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
            h = o.sigmoid() * cell.tanh()
            seen.append(h)
        x = torch.stack(seen, dim=1)
    return model.head(x)


@pytest.mark.parametrize("name", VARIANTS)
def test_parameters_are_the_count_by_group(name: str) -> None:
    shape = VARIANTS[name]
    sizes = dict.fromkeys(params_by_group(shape), 0)
    for path, weight in LSTM(shape).named_parameters():
        group = path.split(".")[0]
        sizes["norms_and_biases" if weight.ndim == 1 else group] += weight.numel()
    assert sizes == params_by_group(shape)
    assert sum(sizes.values()) == count_params(shape, "total")


@pytest.mark.parametrize("name", VARIANTS)
def test_it_is_the_lstm_of_the_equations(name: str) -> None:
    torch.manual_seed(3)
    model = LSTM(VARIANTS[name])
    for weight in model.parameters():
        torch.nn.init.normal_(weight, 0.0, 0.4)  # biases too, and no gate near its middle
    ids = torch.randint(0, 53, (3, 24))
    assert torch.allclose(model(ids), by_the_book(model, ids), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", VARIANTS)
def test_exact_flops_are_those_torch_counts(name: str) -> None:
    # torch's counter does not see the fused layer; the equations have the same products.
    shape = VARIANTS[name]
    model = LSTM(shape)
    ids = torch.randint(0, 53, (4, shape.n_ctx))
    with FlopCounterMode(display=False) as counter:
        logits = by_the_book(model, ids)
    assert 3 * counter.get_total_flops() == ids.numel() * flops_per_token(shape)
    # Backwards it is twice that, less what the first token's empty state and fixed input spare.
    with FlopCounterMode(display=False) as counter:
        logits.logsumexp(-1).mean().backward()
    assert 1.5 * counter.get_total_flops() == pytest.approx(
        ids.numel() * flops_per_token(shape), rel=2 / shape.n_ctx
    )


@pytest.mark.filterwarnings("ignore:TF32 acceleration on top of oneDNN")  # at any use of the flags
def test_activations_are_those_torch_keeps() -> None:
    shape = Shape.lstm(3, 32, 17, 40)
    model = LSTM(shape)
    own = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept: dict[int, int] = {}
    held = []

    def keep(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        held.append(storage)  # or its address would be another's
        if storage.data_ptr() not in own and tensor.is_floating_point():
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    ids = torch.randint(0, 17, (5, 40))
    with (
        torch.backends.mkldnn.flags(enabled=False),
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
    ):
        model.loss(ids, ids)
    expected = activation_bytes(shape, ids.numel(), bytes_per_value=4)
    assert sum(kept.values()) == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("name", VARIANTS)
def test_the_future_does_not_leak_backwards(name: str) -> None:
    torch.manual_seed(3)
    model = LSTM(VARIANTS[name])
    ids = torch.randint(0, 53, (2, 24))
    changed = ids.clone()
    changed[:, 17] = (changed[:, 17] + 1) % 53
    with torch.inference_mode():
        before, after = model(ids), model(changed)
    assert torch.equal(before[:, :17], after[:, :17])
    # What it saw stays in its state to the end.
    assert not torch.allclose(before[:, 17:], after[:, 17:])
    assert not torch.equal(before[:, -1], after[:, -1])


def test_each_context_starts_from_an_empty_state() -> None:
    torch.manual_seed(3)
    model = LSTM(BASE)
    ids = torch.randint(0, 53, (3, 24))
    with torch.inference_mode():
        whole, alone = model(ids), torch.cat([model(row[None]) for row in ids])
    assert torch.allclose(whole, alone, atol=1e-6)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_parameter_has_a_gradient(name: str) -> None:
    torch.manual_seed(4)
    model = LSTM(VARIANTS[name])
    ids = torch.randint(0, 53, (3, 25))
    model.loss(ids[:, :-1], ids[:, 1:]).backward()
    for path, weight in model.named_parameters():
        assert weight.grad is not None, path
        assert weight.grad.abs().max() > 0, path


def test_it_trains_where_the_products_are_in_16_bits() -> None:
    torch.manual_seed(7)
    model = LSTM(BASE)
    ids = torch.randint(0, 53, (3, 25))
    whole = model.loss(ids[:, :-1], ids[:, 1:])
    with torch.autocast("cpu", torch.bfloat16):
        rough = model.loss(ids[:, :-1], ids[:, 1:])
    rough.backward()
    assert float(rough.detach()) == pytest.approx(float(whole.detach()), rel=1e-2)
    assert all(weight.grad.abs().max() > 0 for weight in model.parameters())


def test_the_forget_gate_starts_open_and_all_other_biases_at_nought() -> None:
    torch.manual_seed(5)
    model = LSTM(VARIANTS["two layers"])
    for layer in range(2):
        total = sum(getattr(model.recurrent, f"bias_{kind}_l{layer}") for kind in ("ih", "hh"))
        gates = total.detach().view(4, 20)
        assert torch.equal(gates, torch.tensor([0.0, 1.0, 0.0, 0.0])[:, None].expand(4, 20))
        largest = getattr(model.recurrent, f"weight_hh_l{layer}").abs().max()
        assert 0.9 / math.sqrt(20) < largest <= 1 / math.sqrt(20)


def test_a_model_is_made_by_its_kind_and_no_other() -> None:
    plain = Shape(n_layer=2, d_model=16, n_heads=2, vocab=53, n_ctx=24)
    assert isinstance(make_model(BASE), LSTM)
    assert isinstance(make_model(plain), Transformer)
    for model, shape in ((LSTM, plain), (Transformer, BASE)):
        with pytest.raises(InputError, match=r"kind is .* use make_model"):
            model(shape)


@pytest.fixture(scope="module")
def stdlib(tmp_path_factory: pytest.TempPathFactory) -> TokenSet:
    """About 300 kB of Python's own library, as bytes."""
    folder, size = tmp_path_factory.mktemp("stdlib"), 0
    for number, document in enumerate(read_python_stdlib()):
        (folder / f"{number:04d}.txt").write_text(document.text, encoding="utf-8")
        size += len(document.text)
        if size > 300_000:
            break
    return prepare(folder, tmp_path_factory.mktemp("tokens") / "set", val_fraction=0.1)


def test_it_learns_real_text_below_what_counting_letters_gives(
    stdlib: TokenSet, tmp_path: Path
) -> None:
    shape = Shape.lstm(1, 32, 256, 64)
    spec = RunSpec(shape, 120_000, 1024, lr=0.02, eval_points=2, eval_block=4096, eval_final=8192)
    end = train(spec, stdlib, tmp_path)
    counts = np.bincount(np.asarray(stdlib.train), minlength=256) + 1.0
    held_out = np.bincount(np.asarray(stdlib.val), minlength=256)
    unigram = -(held_out / held_out.sum()) @ np.log(counts / counts.sum())
    assert 2.5 < unigram < 4.0
    assert end.loss is not None
    assert end.loss < unigram - 0.3
