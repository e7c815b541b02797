"""A decoder-only transformer whose every shape field is free: pre-norm, GPT-2 style.

What to choose: the defaults of `Shape` (learned positions, GELU, LayerNorm, tied head, biases) are
GPT-2's; `positions="rotary", gated=True, norm="rmsnorm"` and no biases make the modern variant;
`reuse` above 1 makes the recurrent transformer, whose stack of blocks is applied several times
over. Dropout is where GPT-2 has it: on the embedding, on the attention weights, and on what each
block adds.

Letters in the comments: b sequences, t positions, h heads, k size of a head, d width.
Source: Radford et al. 2019 (GPT-2); Su et al. 2021 (rotary); Shazeer 2020 (gated feed-forward);
Zhang & Sennrich 2019 (RMSNorm); Ainslie et al. 2023 (grouped keys and values); Dehghani et al.
2019 and Kaplan et al. 2020, figure 17 (blocks used again).
Left out: mixtures of experts and relative positions, which `Shape` can count; of Dehghani et al.
the embedding of the pass, and stopping early.
"""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isoloss.counting import Shape
from isoloss.errors import InputError
from isoloss.lab.models.attention import blocked_attention
from isoloss.lab.models.language_model import LanguageModel, drop

ROTARY_BASE = 10_000.0


class Transformer(LanguageModel):
    """A decoder-only transformer of the given shape; its parameters add up to the count of `Shape`.

    shape: Shape of this kind without experts and without relative positions. dropout: the part of
    the numbers dropped in training.
    Raises InputError for a shape this model cannot build.
    """

    def __init__(self, shape: Shape, dropout: float = 0.0) -> None:
        _refuse_unsupported(shape)
        super().__init__(shape, dropout)
        self.token_embedding = nn.Embedding(shape.vocab, shape.d_model)
        self.position_embedding = (
            nn.Embedding(shape.n_ctx, shape.d_model) if shape.positions == "learned" else None
        )
        self.blocks = nn.ModuleList(Block(shape, dropout) for _ in range(shape.n_layer))
        self.norm = _norm(shape)
        self.head = nn.Linear(shape.d_model, shape.vocab, bias=False)
        if shape.tied:
            self.head.weight = self.token_embedding.weight
        self.rotary: Tensor | None
        table = _rotary_table(shape) if shape.positions == "rotary" else None
        self.register_buffer("rotary", table, persistent=False)
        self._initialise()

    def hidden(self, ids: Tensor) -> Tensor:
        """What the head sees at each position: ids (b, t) integers -> (b, t, d_model)."""
        x = self.token_embedding(ids)
        if self.position_embedding is not None:
            x = x + self.position_embedding.weight[: ids.shape[1]]
        x = drop(x, self.dropout, self.training)
        rotary = None if self.rotary is None else self.rotary[:, : ids.shape[1]]
        for _ in range(self.shape.reuse):
            for block in self.blocks:
                x = block(x, rotary)
        return cast(Tensor, self.norm(x))

    @torch.no_grad()
    def _initialise(self) -> None:
        # GPT-2's 0.02 is 0.5 / sqrt(d) at d = 625; the square root lets tiny widths learn as well.
        std = 0.5 / math.sqrt(self.shape.d_model)
        added = 2 * self.shape.n_layer * self.shape.reuse  # times that something joins the residual
        for name, weight in self.named_parameters():
            if weight.ndim == 1:
                continue
            into_residual = name.endswith(("attention.out.weight", "feed_forward.down.weight"))
            scale = std / math.sqrt(added) if into_residual else std
            nn.init.normal_(weight, 0.0, scale)
        for module in self.modules():
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x)); what is added may be dropped."""

    def __init__(self, shape: Shape, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.attention_norm = _norm(shape)
        self.attention = Attention(shape, dropout)
        self.feed_forward_norm = _norm(shape)
        self.feed_forward = FeedForward(shape)

    def forward(self, x: Tensor, rotary: Tensor | None) -> Tensor:
        mixed = self.attention(self.attention_norm(x), rotary)
        x = x + drop(mixed, self.dropout, self.training)
        made = self.feed_forward(self.feed_forward_norm(x))
        return x + drop(made, self.dropout, self.training)


class Attention(nn.Module):
    """Causal attention, with fewer key and value heads than query heads where the shape says so."""

    def __init__(self, shape: Shape, dropout: float) -> None:
        super().__init__()
        self.dropout, self.blocked = dropout, False  # blocked: which of two ways is computed
        self.n_heads, self.n_kv_heads, self.d_head = (
            shape.n_heads,
            shape.n_kv_heads,
            shape.head_size,
        )
        self.query_size, self.kv_size = self.n_heads * self.d_head, self.n_kv_heads * self.d_head
        self.qkv = nn.Linear(shape.d_model, self.query_size + 2 * self.kv_size, bias=shape.qkv_bias)
        self.out = nn.Linear(self.query_size, shape.d_model, bias=shape.out_bias)

    def forward(self, x: Tensor, rotary: Tensor | None) -> Tensor:
        b, t, _ = x.shape
        q, k, v = self.qkv(x).split((self.query_size, self.kv_size, self.kv_size), dim=2)
        q = q.view(b, t, self.n_heads, self.d_head).transpose(1, 2)
        k = k.view(b, t, self.n_kv_heads, self.d_head).transpose(1, 2)
        v = v.view(b, t, self.n_kv_heads, self.d_head).transpose(1, 2)
        if rotary is not None:
            q, k = _rotate(q, rotary), _rotate(k, rotary)
        if self.blocked and self.training:
            y = blocked_attention(q, k, v)
        else:
            y = F.scaled_dot_product_attention(
                q,
                k,
                v,
                dropout_p=self.dropout if self.training else 0.0,
                is_causal=True,
                enable_gqa=self.n_kv_heads != self.n_heads,
            )
        return cast(Tensor, self.out(y.transpose(1, 2).reshape(b, t, self.query_size)))


class FeedForward(nn.Module):
    """down(gelu(up(x))), or the gated down(silu(gate(x)) * up(x))."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate = nn.Linear(shape.d_model, shape.d_ff, bias=shape.bias) if shape.gated else None
        self.up = nn.Linear(shape.d_model, shape.d_ff, bias=shape.bias)
        self.down = nn.Linear(shape.d_ff, shape.d_model, bias=shape.bias)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.gelu(self.up(x)) if self.gate is None else F.silu(self.gate(x)) * self.up(x)
        return cast(Tensor, self.down(hidden))


def _refuse_unsupported(shape: Shape) -> None:
    if shape.kind != "transformer":
        raise InputError(f"shape.kind is {shape.kind!r}: this is a transformer; use make_model")
    if shape.n_experts:
        raise InputError("shape.n_experts is set: this transformer has no experts; set it to 0")
    if shape.positions == "relative":
        raise InputError("shape.positions is 'relative': train with 'learned', 'rotary' or 'none'")
    if shape.positions == "rotary" and shape.head_size % 2:
        raise InputError(f"d_attn / n_heads is {shape.head_size}: rotary positions need it even")
    if shape.qk_norm != "none" or shape.window:
        field = "window" if shape.window else "qk_norm"
        raise InputError(f"shape.{field} is set: this transformer has none; leave it out")


def _norm(shape: Shape) -> nn.Module:
    if shape.norm == "rmsnorm":
        return nn.RMSNorm(shape.d_model, eps=1e-6)
    return nn.LayerNorm(shape.d_model, bias=shape.bias)


def _rotary_table(shape: Shape) -> Tensor:
    """(2, n_ctx, k/2): the cosine and sine of position times frequency."""
    frequency = ROTARY_BASE ** (-torch.arange(0, shape.head_size, 2) / shape.head_size)
    angle = torch.outer(torch.arange(shape.n_ctx).float(), frequency)
    return torch.stack((angle.cos(), angle.sin()))


def _rotate(x: Tensor, rotary: Tensor) -> Tensor:
    """Turn each pair (x[i], x[i + k/2]) of x (b, h, t, k) by its position's angle."""
    cos, sin = rotary
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, first * sin + second * cos), dim=-1)
