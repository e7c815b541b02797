"""What a run needs to go on from where it was: weights, moments and sums, as plain arrays."""

from __future__ import annotations

import math
import os
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn


@dataclass
class State:
    """What a checkpoint holds besides weights: where the run is, and its running sums.

    start: the step the run itself began at, 0 unless it left a trunk.
    """

    step: int = 0
    loss_sum: float = 0.0
    loss_count: int = 0
    point_loss: float = math.nan
    seconds: float = 0.0
    eval_seconds: float = 0.0
    start: int = 0


def save_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, state: State
) -> None:
    """Weights, moments and sums as plain arrays; renamed into place, so it is whole or absent."""
    arrays: dict[str, NDArray[np.generic]] = {
        f"model.{name}": value.numpy() for name, value in _weights(model).items()
    }
    for index, moments in optimizer.state_dict()["state"].items():
        for key, value in moments.items():
            if value is None:  # SGD without momentum has none
                continue
            arrays[f"optimizer.{index}.{key}"] = value.numpy()
    arrays["state"] = np.array(list(astuple(state)), np.float64)
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def load_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> State:
    """Put the weights and moments at `path` back, if there is one, and say where the run is."""
    if not path.exists():
        return State()
    with np.load(path, allow_pickle=False) as arrays:
        for name, value in _weights(model).items():
            value.copy_(torch.from_numpy(arrays[f"model.{name}"]))
        saved = optimizer.state_dict()
        for key in arrays.files:
            if key.startswith("optimizer."):
                _, index, name = key.split(".")
                saved["state"].setdefault(int(index), {})[name] = torch.from_numpy(arrays[key])
        optimizer.load_state_dict(saved)
        numbers = arrays["state"].tolist()
    # One written before a field was there lacks it, and has it at its default.
    values = dict(zip((f.name for f in fields(State)), numbers, strict=False))
    whole = {name: int(values.get(name, 0)) for name in ("step", "loss_count", "start")}
    return State(**values | whole)


def _weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Every parameter once, detached, by name: a tied head does not appear twice."""
    return {name: value.detach() for name, value in model.named_parameters()}
