"""Bytes a shape needs beside its parameters: the key-value cache of generation."""

from __future__ import annotations

from isoloss.counting.shape import Shape
from isoloss.errors import InputError


def kv_cache_bytes(shape: Shape, *, tokens: int | None = None, bytes_per_value: int = 2) -> int:
    """Count the bytes of the key-value cache of one sequence.

    2 * n_layer * n_kv_heads * head size * tokens * bytes_per_value.
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
    return 2 * shape.n_layer * shape.d_kv * kept * bytes_per_value
