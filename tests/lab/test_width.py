"""Width scaling: activations move as much at every width under muP, and not without it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from isoloss.counting import Shape
from isoloss.errors import InputError
from isoloss.lab.tokens import TokenSet
from isoloss.runs import RunSpec

torch = pytest.importorskip("torch", reason="the lab needs torch: install isoloss[lab]")

from isoloss.lab.coordinates import coordinate_check  # noqa: E402
from isoloss.lab.models import Transformer  # noqa: E402
from isoloss.lab.train import train  # noqa: E402
from isoloss.lab.training.optim import make_optimizer, set_rate  # noqa: E402
from isoloss.lab.training.width import parametrize  # noqa: E402

WIDTHS = (32, 64, 128, 256)


def shapes(*, tied: bool = True) -> list[Shape]:
    return [Shape(2, width, width // 16, vocab=64, n_ctx=16, tied=tied) for width in WIDTHS]


def mup(spec: RunSpec, base: int) -> RunSpec:
    return replace(spec, parametrization="mup", base_width=base)


@pytest.mark.parametrize("tied", [True, False])
def test_activations_move_as_much_at_every_width(tied: bool) -> None:
    every = shapes(tied=tied)
    spec = RunSpec(every[0], tokens=1000, batch=128, lr=0.01)
    standard = coordinate_check(spec, every, seeds=2)
    scaled = coordinate_check(mup(spec, 32), every, seeds=2)
    assert scaled.names == ("block 0", "block 1", "logits")
    assert scaled.changes.shape == scaled.sizes.shape == (3, 4, 6)
    assert scaled.changes[:, :, -1].min() > 0.1  # they do move
    for name, slope in scaled.slopes().items():
        # What the logits change by holds a part that falls with the root of the width, to nothing.
        assert -0.3 < slope < 0.1 if name == "logits" else abs(slope) < 0.15, name
    for name, slope in standard.slopes().items():
        assert slope > (0.25 if name == "logits" else 1.0), name
    # At the base width the two are one.
    np.testing.assert_array_equal(scaled.changes[:, 0], standard.changes[:, 0])


def test_the_first_update_is_as_large_as_the_table_says(spec: RunSpec) -> None:
    """Four times the base width: matrices inside move and shrink as stated, and start as stated."""
    shape = replace(spec.shape, d_model=64, d_ff=256, d_attn=64, n_heads=8, n_kv_heads=8)
    run = mup(replace(spec, shape=shape, weight_decay=0.2), 16)
    torch.manual_seed(0)
    plain = {name: p.detach().clone() for name, p in Transformer(shape).named_parameters()}
    torch.manual_seed(0)
    model = Transformer(shape)
    parametrize(model, run)
    named = dict(model.named_parameters())
    start = {name: p.detach().clone() for name, p in named.items()}
    for name, factor in (
        ("token_embedding.weight", 2.0),
        ("position_embedding.weight", 2.0),
        ("norm.weight", 0.25),
        ("blocks.0.attention.qkv.weight", 1.0),
        ("blocks.1.feed_forward_norm.weight", 1.0),
    ):
        torch.testing.assert_close(start[name], factor * plain[name])
    optimizer = make_optimizer(model, run)
    set_rate(optimizer, 0.1)
    for parameter in named.values():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    for name, scale, decay in (
        ("token_embedding.weight", 1.0, 0.2),
        ("blocks.0.attention.qkv.weight", 0.25, 0.8),
        ("blocks.1.feed_forward.down.weight", 0.25, 0.8),
        ("norm.weight", 0.25, 0.0),
        ("norm.bias", 0.25, 0.0),
        ("blocks.0.attention_norm.weight", 1.0, 0.0),
        ("blocks.0.feed_forward.up.bias", 1.0, 0.0),
    ):
        rate = 0.1 * scale
        expected = start[name] * (1 - rate * decay) - rate  # Adam's first step is the sign
        torch.testing.assert_close(named[name].detach(), expected, rtol=1e-5, atol=1e-6)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(named)


def test_at_the_base_width_a_run_is_the_standard_one(
    spec: RunSpec, tokens: TokenSet, tmp_path: Path
) -> None:
    run = replace(spec, tokens=5_120)
    assert train(run, tokens, tmp_path).loss == train(mup(run, 16), tokens, tmp_path).loss
    assert train(mup(run, 8), tokens, tmp_path).loss != train(run, tokens, tmp_path).loss


def test_a_check_of_one_width_is_refused(spec: RunSpec) -> None:
    with pytest.raises(InputError, match=r"the widths are \[32, 32\]: give two or more"):
        coordinate_check(spec, shapes()[:1] * 2)
