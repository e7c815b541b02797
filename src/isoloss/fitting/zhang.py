"""Zhang's critical batch: the largest whose steps are within 20 % of linear scaling."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from isoloss.errors import InputError
from isoloss.laws.forms import Array


def zhang_critical_batch(
    a: ArrayLike, b: ArrayLike, *, optimal: ArrayLike, excess: float = 0.2
) -> Array:
    """Return the batch whose steps are 20 % above linear scaling from an efficient batch.

        S(B) = a + b / B                                     steps to a loss
        S(CBS) = (1 + excess) S(B_opt) B_opt / CBS           20 % above the line through B_opt
        CBS = (1 + excess) B_opt + excess b / a

    The second line times CBS is a CBS + b = (1 + excess) (a B_opt + b). At an excess of 1/5 the
    third is the paper's (b + 5 a 1.2 B_opt) / (5 a). With a = S_min and b = E_min, as Kaplan and
    McCandlish have them, b / a is B_crit: CBS = 1.2 B_opt + 0.2 B_crit.
    a: steps of an endless batch; b: steps times batch of a vanishing one; optimal: B_opt, up to
    which doubling the batch is held to halve the steps, 256 sequences in the paper. Batches are in
    one unit, arrays broadcast. Raises InputError where one of these is not positive.
    Source: Zhang et al. 2024 (arXiv:2410.21676), the notebook chinchilla.ipynb.
    """
    values = [np.asarray(value, dtype=np.float64) for value in (a, b, optimal, excess)]
    for name, value in zip(("a", "b", "optimal", "excess"), values, strict=True):
        if not bool(np.all(value > 0)):
            raise InputError(f"{name} must be positive in every entry")
    return np.asarray((1.0 + excess) * values[2] + excess * values[1] / values[0])
