"""Whether a loss that nobody gave a unit is in bits after all, where the table itself can tell."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from isoloss.runs import aliases
from isoloss.runs.roles import Reading

_BYTES_PER_TOKEN = ("bytes_per_token", "bytes_token", "tokenizer_bytes_per_token")
_SAME = 0.01


def in_bits(reading: Reading, loss: npt.NDArray[np.float64]) -> bool:
    """Say whether loss is bits per byte times bytes per token, which is bits per token.

    In nats it would be ln 2 times that. Needs both columns; without them nothing is known.
    """
    bits = [name for name in reading.filled if aliases.is_bits_per_byte(name)]
    size = [name for name in reading.filled if aliases.plain(name) in _BYTES_PER_TOKEN]
    if not bits or not size:
        return False
    expected = reading.numbers(bits[0]) * reading.numbers(size[0])
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = loss / expected
    known = ratio[np.isfinite(ratio)]
    return bool(known.size and abs(float(np.median(known)) - 1) < _SAME)
