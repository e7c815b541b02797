"""Exact FLOPs against torch's own counter, on a transformer written out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from isoloss.counting import Shape, flops_per_token

torch = pytest.importorskip("torch", reason="torch is not installed (extra lab)")
flop_counter = pytest.importorskip("torch.utils.flop_counter")


class ByHand:
    """The matrices of one shape, and a forward pass in plain matrix products; batch of one."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.parameters: list[object] = []
        self.embedding = self.matrix(shape.vocab, shape.d_model)
        self.head = self.matrix(shape.d_model, shape.vocab)

    def matrix(self, rows: int, columns: int) -> Any:
        weight = torch.randn(rows, columns, device="meta", requires_grad=True)
        self.parameters.append(weight)
        return weight

    def attention(self, x: Any) -> Any:
        s = self.shape
        queries = (x @ self.matrix(s.d_model, s.d_attn)).unflatten(-1, (s.n_heads, -1))
        keys = (x @ self.matrix(s.d_model, s.d_kv)).unflatten(-1, (s.n_kv_heads, -1))
        values = (x @ self.matrix(s.d_model, s.d_kv)).unflatten(-1, (s.n_kv_heads, -1))
        groups = s.n_heads // s.n_kv_heads
        queries = queries.transpose(0, 1)
        keys = keys.transpose(0, 1).repeat_interleave(groups, 0)
        values = values.transpose(0, 1).repeat_interleave(groups, 0)
        logits = queries @ keys.transpose(1, 2)
        if s.positions == "relative":
            positions = torch.randn(s.n_ctx, s.d_model, device="meta")
            positions = positions @ self.matrix(s.d_model, s.d_attn)
            positions = positions.unflatten(-1, (s.n_heads, -1)).transpose(0, 1)
            logits = logits + queries @ positions.transpose(1, 2)
        mixed = logits.softmax(-1) @ values
        return mixed.transpose(0, 1).flatten(1) @ self.matrix(s.d_attn, s.d_model)

    def expert(self, x: Any, width: int) -> Any:
        s = self.shape
        hidden = (x @ self.matrix(s.d_model, width)).relu()
        if s.gated:
            hidden = hidden * (x @ self.matrix(s.d_model, width))
        return hidden @ self.matrix(width, s.d_model)

    def feed_forward(self, x: Any) -> Any:
        s = self.shape
        if not s.n_experts:
            return self.expert(x, s.d_ff)
        chosen = (x @ self.matrix(s.d_model, s.n_experts)).softmax(-1)
        out = sum(self.expert(x, s.d_ff) * chosen[:, :1] for _ in range(s.n_active_experts))
        if s.d_ff_shared:
            out = out + self.expert(x, s.d_ff_shared) * (x @ self.matrix(s.d_model, 1)).sigmoid()
        return out

    def loss(self) -> Any:
        tokens = torch.zeros(self.shape.n_ctx, dtype=torch.long, device="meta")
        x = self.embedding[tokens]
        for _ in range(self.shape.n_layer):
            x = x + self.attention(x)
            x = x + self.feed_forward(x)
        return (x @ self.head).logsumexp(-1).mean()


SHAPES = {
    "plain": Shape(3, 24, 4, 61, 19, d_ff=50, d_attn=36),
    "grouped and gated": Shape(2, 30, 6, 40, 23, d_ff=70, n_kv_heads=2, gated=True),
    "experts": Shape(2, 20, 2, 33, 11, gated=True, n_experts=6, n_active_experts=2, d_ff_shared=17),
    "relative": Shape(2, 24, 3, 45, 13, d_attn=27, positions="relative"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_forward_flops_are_what_torch_counts(name: str) -> None:
    shape = SHAPES[name]
    with flop_counter.FlopCounterMode(display=False) as counter:
        ByHand(shape).loss()
    assert 3 * counter.get_total_flops() == shape.n_ctx * flops_per_token(shape)


@pytest.mark.parametrize("name", [name for name in SHAPES if name != "relative"])
def test_backward_is_twice_the_forward(name: str) -> None:
    # Not for relative positions, whose fixed table needs no gradient of its own.
    shape = SHAPES[name]
    model = ByHand(shape)
    with flop_counter.FlopCounterMode(display=False) as counter:
        loss = model.loss()
        torch.autograd.grad(loss, model.parameters, allow_unused=True)
    assert counter.get_total_flops() == shape.n_ctx * flops_per_token(shape)
