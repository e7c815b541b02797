"""Bytes a shape needs: to train it, to keep a checkpoint of it, and to generate with it.

What training holds for every parameter follows from the numbers' precision alone; what it holds
for every token, the activations, depends on the implementation and is an estimate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from isoloss.counting.parameters import count_params
from isoloss.counting.shape import Shape
from isoloss.errors import InputError

Precision = Literal["mixed", "fp32", "bf16"]
Recompute = Literal["none", "selective", "full"]

_PER_PARAMETER = {"mixed": (2, 2, 12), "fp32": (4, 4, 8), "bf16": (2, 2, 4)}
"""Bytes of weights, gradients and optimizer."""


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes that training holds, all devices together.

    optimizer: Adam's two moments, and the 32-bit weights where training is mixed. activations: 0
    where no tokens were given.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int = 0

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.activations


def training_memory(
    shape: Shape,
    *,
    precision: Precision = "mixed",
    tokens: int = 0,
    recompute: Recompute = "selective",
) -> TrainingMemory:
    """Count the bytes of training a shape with Adam.

    Per parameter, weights + gradients + optimizer: mixed 2 + 2 + 12 (32-bit weights and moments),
    fp32 4 + 4 + 8, bf16 (everything in 16 bits) 2 + 2 + 4; activations as in `activation_bytes`.
    shape: its total parameters count. tokens: in the forward pass at one time on all devices, a
    micro-batch of each; 0 leaves activations out. recompute: as in `activation_bytes`.
    Returns TrainingMemory. Sharded over k devices each holds 1/k of all of it; copied to each, all.
    Raises InputError for tokens below zero, or a precision or a recomputation that is none.
    Source: Rajbhandari et al. 2020 (ZeRO), section 3.1, for mixed: 16 bytes. Left out: buffers of
    communication, temporaries, fragmentation.
    """
    if precision not in _PER_PARAMETER:
        raise InputError(
            f"precision is {precision!r}: it must be one of {', '.join(get_args(Precision))}"
        )
    n = count_params(shape, "total")
    wide = 4 if precision == "fp32" else 2
    weights, gradients, optimizer = (n * each for each in _PER_PARAMETER[precision])
    activations = activation_bytes(shape, tokens, recompute=recompute, bytes_per_value=wide)
    return TrainingMemory(weights, gradients, optimizer, activations)


def checkpoint_bytes(
    shape: Shape, *, precision: Precision = "mixed", resumable: bool = True
) -> int:
    """Count the bytes of one checkpoint on disk.

    resumable: weights and Adam's two moments in 32 bits, 12 bytes per parameter (bf16: 6), for the
    16-bit weights of mixed training follow from the 32-bit ones; otherwise the weights alone as the
    model uses them, 2 bytes (fp32: 4).
    Returns bytes. Raises InputError for a precision that is none.
    Source: the tensors a resumed run needs. Left out: data order, random states, file headers.
    """
    memory = training_memory(shape, precision=precision)
    if not resumable:
        return memory.weights
    return memory.optimizer if precision == "mixed" else memory.weights + memory.optimizer


def activation_bytes(
    shape: Shape,
    tokens: int,
    *,
    recompute: Recompute = "selective",
    dropout: bool = False,
    bytes_per_value: int = 2,
) -> int:
    """Estimate the bytes of activations that the backward pass of some tokens needs.

    Per token and layer, b bytes per value: inputs of two norms 2 d_model b; attention's input,
    queries, keys, values and result (d_model + 2 d_attn + 2 d_kv) b; feed-forward (d_model + 2
    d_ff) b, or 3 d_ff where gated, of the experts used; attention weights n_heads n_ctx b, which
    `selective` recomputes as fused attention does. `full` keeps d_model b, each layer's input. At
    the end 2 d_model b, and 4 vocab for 32-bit logits. Dropout adds its masks, a byte each, and a
    second copy of the attention weights. Layers that are used again keep all of it each time.
    An LSTM's layer keeps 8 d_model b: its input, four gates, the cell, its tanh and the state; the
    end d_model b and the logits; dropout adds to each a mask and the copy it makes of its input.
    This is torch's plain kernel; the oneDNN layer that torch takes on a CPU keeps about 17.
    shape: as trained. tokens: in the pass. Returns bytes.
    Raises InputError for tokens below zero or a recomputation that is none.
    Source: Korthikanti et al. 2022, section 4.1: s b h (34 + 5 a s / h) for plain shapes in 16 bits
    with dropout, of which `selective` keeps 34, `full` 2; gates and grouped heads are ours by the
    same count. An estimate: implementations keep more or less.
    """
    if recompute not in get_args(Recompute):
        raise InputError(
            f"recompute is {recompute!r}: it must be one of {', '.join(get_args(Recompute))}"
        )
    if tokens < 0:
        raise InputError(f"tokens is {tokens}: it must be at least 0")
    if shape.kind == "lstm":
        return tokens * _lstm_bytes(shape, recompute, dropout, bytes_per_value)
    layer = shape.d_model * bytes_per_value
    if recompute != "full":
        layer = _layer_bytes(shape, bytes_per_value) + (2 * shape.d_model if dropout else 0)
    if recompute == "none":
        copies = 2 * bytes_per_value + 1 if dropout else bytes_per_value
        layer += shape.n_heads * shape.attended * copies
    ends = 2 * shape.d_model * bytes_per_value + 4 * shape.vocab
    return int(tokens * (shape.n_layer * shape.reuse * layer + ends))


def _layer_bytes(shape: Shape, bytes_per_value: int) -> int:
    """What a layer keeps of a token, dropout's masks and the attention weights left out."""
    wide = max(1, shape.n_active_experts) * shape.d_ff + shape.d_ff_shared
    feed_forward = shape.d_model + (3 if shape.gated else 2) * wide
    attention = shape.d_model + 2 * shape.d_attn + 2 * shape.d_kv
    return (2 * shape.d_model + attention + feed_forward) * bytes_per_value


def _lstm_bytes(shape: Shape, recompute: Recompute, dropout: bool, bytes_per_value: int) -> int:
    one = shape.d_model * bytes_per_value
    masked = shape.d_model + one if dropout else 0
    layer = one if recompute == "full" else 8 * one + masked
    return shape.n_layer * layer + one + masked + 4 * shape.vocab


def kv_cache_bytes(shape: Shape, *, tokens: int | None = None, bytes_per_value: int = 2) -> int:
    """Count the bytes of the key-value cache of one sequence.

    2 * n_layer * reuse * n_kv_heads * head size * tokens * bytes_per_value. An LSTM has none, but
    a state that does not grow: 2 * n_layer * d_model * bytes_per_value, output and cell.
    tokens: length of the sequence, n_ctx if not given; a window caps what is kept.
    bytes_per_value: 2 for 16-bit numbers.
    Returns bytes.
    Raises InputError if tokens is negative or bytes_per_value not positive.
    Source: the tensors generation keeps; no paging, padding or quantisation scales.
    """
    tokens = shape.n_ctx if tokens is None else tokens
    if tokens < 0:
        raise InputError(f"tokens is {tokens}: it must be at least 0")
    if bytes_per_value <= 0:
        raise InputError(f"bytes_per_value is {bytes_per_value}: it must be positive")
    kept = min(tokens, shape.window) if shape.window else tokens
    if shape.kind == "lstm":
        return 2 * shape.n_layer * shape.d_model * bytes_per_value
    return 2 * shape.n_layer * shape.reuse * shape.d_kv * kept * bytes_per_value
