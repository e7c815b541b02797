"""At which steps of a run the held-out loss is measured."""

from __future__ import annotations

import numpy as np

from isoloss.runs import RunSpec

EVALUATION_SHARE = 0.2
FORWARD_SHARE = 0.4  # a forward pass over a training step on as many tokens, measured 0.31-0.39
FIRST_POINT = 30  # the first held-out point lies at this part of the run


def evaluation_steps(spec: RunSpec, block_tokens: int, final_tokens: int) -> list[int]:
    """Steps after which the held-out block is evaluated: logarithmically spaced, at most a fifth.

    The first lies at a thirtieth of the run, the last at its end; with `patience`, which counts
    points, they are evenly spaced, each for as many steps. Points are left out until all
    evaluation, the final one included, costs at most 20 % of the run, a token evaluated counting
    0.4 of a token trained; the point at the end stays, whatever it costs. Of a branch all this is
    said of the steps after its trunk.
    block_tokens, final_tokens: held-out tokens of one point and of the final evaluation.
    """
    allowed = EVALUATION_SHARE / (1 - EVALUATION_SHARE) / FORWARD_SHARE * spec.tokens_paid
    count = min(spec.eval_points, max(1, int((allowed - final_tokens) // block_tokens)))
    first = max(1, spec.branch_step + (spec.steps - spec.branch_step) // FIRST_POINT)
    if count == 1:
        return [spec.steps]
    if spec.patience:
        even = np.linspace(spec.steps / count, spec.steps, count).round()
        return sorted({max(1, int(step)) for step in even})
    steps = {int(s) for s in np.geomspace(first, spec.steps, count).round()}
    return sorted(step for step in steps if step > spec.branch_step)
