"""The transformer: its size is the count of its shape, and it sees no token of the future."""

from __future__ import annotations

from dataclasses import replace

import pytest

from isoloss.counting import Shape, count_params, flops_per_token, params_by_group
from isoloss.errors import InputError

torch = pytest.importorskip("torch", reason="the lab needs torch: install isoloss[lab]")

from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from isoloss.lab.models import Transformer  # noqa: E402

BASE = Shape(n_layer=3, d_model=20, n_heads=2, vocab=53, n_ctx=24)
VARIANTS = {
    "gpt2": BASE,
    "wide feed-forward": replace(BASE, d_ff=37),
    "narrow attention": replace(BASE, d_attn=12),
    "grouped": replace(BASE, n_heads=4, n_kv_heads=2),
    "untied": replace(BASE, tied=False),
    "no biases": replace(BASE, bias=False, qkv_bias=False, out_bias=False),
    "query biases only": replace(BASE, bias=False, qkv_bias=True, out_bias=False),
    "modern": replace(
        BASE, d_ff=31, gated=True, norm="rmsnorm", positions="rotary", tied=False, bias=False,
        qkv_bias=False, out_bias=False,
    ),
    "no positions": replace(BASE, positions="none"),
    "recurrent": replace(BASE, reuse=3),
}  # fmt: skip


@pytest.mark.parametrize("name", VARIANTS)
def test_parameters_are_the_count_by_group(name: str) -> None:
    shape = VARIANTS[name]
    model = Transformer(shape)
    sizes = dict.fromkeys(params_by_group(shape), 0)
    for path, weight in model.named_parameters():
        if path.startswith(("token_embedding", "position_embedding", "head")):
            group = path.split(".")[0]
        elif weight.ndim == 1:
            group = "norms_and_biases"
        else:
            group = path.split(".")[2]
        sizes[group] += weight.numel()
    assert sizes == params_by_group(shape)
    assert sum(sizes.values()) == count_params(shape, "total")


@pytest.mark.parametrize("name", VARIANTS)
def test_the_future_does_not_leak_backwards(name: str) -> None:
    torch.manual_seed(3)
    model = Transformer(VARIANTS[name])
    ids = torch.randint(0, 53, (2, 24))
    changed = ids.clone()
    changed[:, 17] = (changed[:, 17] + 1) % 53
    with torch.inference_mode():
        before, after = model(ids), model(changed)
    assert torch.equal(before[:, :17], after[:, :17])
    assert not torch.allclose(before[:, 17:], after[:, 17:])


@pytest.mark.parametrize("name", VARIANTS)
def test_exact_flops_are_those_torch_counts(name: str) -> None:
    shape = VARIANTS[name]
    model = Transformer(shape)
    ids = torch.randint(0, 53, (4, shape.n_ctx))
    # torch's counter does not see the fused kernel; the plain one does the same products.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(ids)
    counted = counter.get_total_flops() / ids.numel()
    assert 3 * counted == pytest.approx(flops_per_token(shape, "exact"), rel=1e-12)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.loss(ids, ids, "none").mean().backward()  # each product by itself
    assert counter.get_total_flops() == pytest.approx(3 * counted * ids.numel(), rel=1e-12)


def test_rotary_attention_depends_on_distance_alone() -> None:
    from isoloss.lab.models.transformer import _rotary_table, _rotate

    shape = VARIANTS["modern"]
    table = _rotary_table(shape)
    torch.manual_seed(5)
    q, k = torch.randn(2, 1, 1, 1, shape.head_size)
    turned_q = _rotate(q.expand(1, 1, 24, -1), table)[0, 0]
    turned_k = _rotate(k.expand(1, 1, 24, -1), table)[0, 0]
    scores = turned_q @ turned_k.T
    assert torch.allclose(scores.diagonal(-3), scores.diagonal(-3)[0].expand(21), atol=1e-5)
    assert not torch.allclose(scores.diagonal(-3)[0], scores.diagonal(-7)[0], atol=1e-3)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"n_experts": 4, "n_active_experts": 2}, "n_experts"),
        ({"positions": "relative"}, "positions"),
        ({"window": 8}, "window"),
        ({"qk_norm": "head"}, "qk_norm"),
    ],
)
def test_a_shape_it_cannot_build_is_refused_by_name(change: dict[str, object], field: str) -> None:
    with pytest.raises(InputError, match=field):
        Transformer(replace(BASE, **change))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", VARIANTS)
def test_every_parameter_has_a_gradient(name: str) -> None:
    torch.manual_seed(4)
    model = Transformer(VARIANTS[name])
    ids = torch.randint(0, 53, (3, 25))
    model.loss(ids[:, :-1], ids[:, 1:]).backward()
    for path, weight in model.named_parameters():
        assert weight.grad is not None, path
        assert weight.grad.abs().max() > 0, path


def _pair(small: Shape, large: Shape) -> tuple[Transformer, Transformer]:
    """A model that uses its layers again, and the deep one whose layers are copies of them."""
    torch.manual_seed(6)
    recurrent, deep = Transformer(small), Transformer(large)
    own = recurrent.state_dict()
    for at in range(large.n_layer):
        block = recurrent.blocks[at % small.n_layer]
        own |= {f"blocks.{at}.{name}": value for name, value in block.state_dict().items()}
    deep.load_state_dict(own)
    return recurrent, deep


@pytest.mark.parametrize("name", ["gpt2", "modern", "grouped"])
def test_layers_used_again_are_as_many_copies_of_them(name: str) -> None:
    small = replace(VARIANTS[name], n_layer=2, reuse=4)
    recurrent, deep = _pair(small, replace(VARIANTS[name], n_layer=8))
    ids = torch.randint(0, 53, (3, 25))
    losses = [model.loss(ids[:, :-1], ids[:, 1:]) for model in (recurrent, deep)]
    assert torch.equal(*losses)
    for loss in losses:
        loss.backward()
    # A shared weight's gradient is the sum of its copies'.
    for at, block in enumerate(recurrent.blocks):
        for path, weight in block.named_parameters():
            copies = [dict(deep.blocks[at + 2 * k].named_parameters())[path] for k in range(4)]
            total = sum(copy.grad for copy in copies)
            assert torch.allclose(weight.grad, total, rtol=1e-4, atol=1e-7), path
    assert count_params(small, "total") == sum(p.numel() for p in recurrent.parameters())


def test_layers_used_once_are_the_plain_transformer() -> None:
    torch.manual_seed(8)
    plain = Transformer(BASE)
    torch.manual_seed(8)
    once = Transformer(replace(BASE, reuse=1))
    for ours, theirs in zip(once.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    blocks, passes = list(plain.blocks), []
    for block in blocks:
        block.register_forward_hook(lambda *_: passes.append(1))
    plain(torch.randint(0, 53, (1, 24)))
    assert len(passes) == BASE.n_layer


def test_what_is_used_again_is_added_more_gently() -> None:
    # As many terms join the residual as in a deep model, so they start as small.
    torch.manual_seed(9)
    recurrent, deep = Transformer(replace(BASE, reuse=12)), Transformer(replace(BASE, n_layer=36))
    for path in ("attention.out.weight", "feed_forward.down.weight"):
        ours, theirs = (
            float(model.blocks[0].get_parameter(path).detach().std()) for model in (recurrent, deep)
        )
        assert ours == pytest.approx(theirs, rel=0.2)
