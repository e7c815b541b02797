"""Leaving a trunk: a run that cools down starts from a state that its trunk has kept."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import nn

from isoloss.errors import InputError
from isoloss.lab.training.checkpoint import State, try_load
from isoloss.runs import RunSpec, kept_path, read_record, trunk_of


def leave_trunk(
    spec: RunSpec, text: str, folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer
) -> State:
    """Put the state of the trunk of `spec` at the branch into model and optimizer.

    Where that state was not kept, or is damaged, the last one kept before it serves: the run then
    does the steps between itself, to the same numbers.
    text: the hash of the corpus. Returns where the run starts: step 0 if nothing of its trunk is
    there. Raises InputError if the trunk was trained on another text.
    """
    trunk = trunk_of(spec).run_id
    record = folder / f"{trunk}.jsonl"
    found = str(read_record(record).corpus.get("hash", "")) if record.exists() else ""
    if not found:
        return State()  # a state without its record is nobody's
    if found != text:
        raise InputError(
            f"{record.name} was trained on the corpus {found[:12]}, and its branch is on "
            f"{text[:12]}: train into another folder"
        )
    name = re.compile(re.escape(trunk) + r"\.step(\d+)\.npz")
    matches = (name.fullmatch(path.name) for path in folder.glob("*.npz"))
    kept = (int(match[1]) for match in matches if match)
    for step in sorted((step for step in kept if step <= spec.branch_step), reverse=True):
        if try_load(kept_path(folder, trunk, step), model, optimizer).step:
            return State(step=step, start=step)
    return State()
