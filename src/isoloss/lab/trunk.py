"""Leaving a trunk: a run that cools down starts from a state that its trunk has kept."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import nn

from isoloss.lab.checkpoint import State, load_checkpoint
from isoloss.runs import RunSpec, kept_path, trunk_of


def leave_trunk(
    spec: RunSpec, folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer
) -> State:
    """Put the state of the trunk of `spec` at the branch into model and optimizer.

    Where that state was not kept, the last one kept before it serves: the run then does the steps
    between itself, to the same numbers.
    Returns where the run starts: step 0 if nothing of its trunk is there.
    """
    trunk = trunk_of(spec).run_id
    name = re.compile(re.escape(trunk) + r"\.step(\d+)\.npz")
    found = (name.fullmatch(path.name) for path in folder.glob("*.npz"))
    kept = (int(match[1]) for match in found if match)
    step = max((step for step in kept if step <= spec.branch_step), default=0)
    if step:
        load_checkpoint(kept_path(folder, trunk, step), model, optimizer)
    return State(step=step, start=step)
