"""Whether a `batch` column counts tokens or sequences: decided from the numbers, or not at all."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

_TOLERANCE = 0.02
_LEAST_CONTEXT = 8


def infer_batch(
    values: FloatArray,
    tokens: FloatArray,
    steps: FloatArray | None,
    context: FloatArray | None,
    rows: npt.NDArray[np.bool_],
    unit: str,
) -> tuple[FloatArray | None, str]:
    """Return the batch in tokens per step, or None, and a note that says how it was decided.

    values: (m,) as in the table. tokens: (m,) d. steps, context: (m,) or None. rows: which count.
    unit: `sequences` if the column's name says so, else `either`.
    With steps, r = d / (steps * values) decides: 1 within 2 % is tokens; the context, or one
    whole number of at least 8 for all rows, is sequences of that many tokens. Without steps, a
    batch below one context must be sequences.
    """
    known = rows & np.isfinite(values) & (values > 0)
    if not known.any():
        return None, "is left out: it has no usable values"
    if steps is not None:
        known &= np.isfinite(steps) & (steps > 0)
    ratio = None
    if steps is not None and known.any():
        ratio = tokens[known] / (steps[known] * values[known])
        if unit == "either" and _near(ratio, 1.0):
            return values, "counts tokens: d = steps * batch"
    if context is not None:
        usable = known & np.isfinite(context) & (context > 0)
        if usable.any():
            if unit == "sequences" or (ratio is None and (values < context)[usable].any()):
                return values * context, "counts sequences: it is multiplied by the context"
            if ratio is not None and _near(ratio / context[known], 1.0):
                return values * context, "counts sequences: d = steps * batch * context"
    if ratio is not None:
        length = float(np.round(np.median(ratio)))
        if length >= _LEAST_CONTEXT and _near(ratio / length, 1.0):
            return values * length, f"counts sequences of {length:.0f} tokens: d / steps says so"
    return None, (
        "is left out: tokens or sequences cannot be decided; if it counts tokens name it with "
        'columns={"batch": "NAME"} (--columns batch=NAME), if sequences with '
        'columns={"batch_sequences": "NAME", "n_ctx": "CONTEXT"} '
        "(--columns batch_sequences=NAME,n_ctx=CONTEXT)"
    )


def _near(values: FloatArray, target: float) -> bool:
    return bool(np.all(np.abs(values / target - 1.0) <= _TOLERANCE))
