"""What a run needs to go on from where it was: weights, moments and sums, as plain arrays.

A file that is damaged is never unpickled, never half used: it is read whole and held against the
model first. The CRC of every array is checked as it is read, and the first array lists the others,
for the index of a zip archive has no CRC of its own.
A run does not end for want of a checkpoint. One that is damaged is removed, one that cannot be
written is left out, and a `RunWarning` says so.
"""

from __future__ import annotations

import math
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from isoloss.errors import InputError
from isoloss.lab.parallel.team import part_like, team_of, wait, whole

_NAMES = "names"


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


class RunWarning(UserWarning):
    """Something a run can go on without: a sweep tells it as news."""


class DamagedCheckpoint(ValueError):
    """What is wrong with a checkpoint, in a few words."""


def try_save(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, state: State) -> bool:
    """Save a checkpoint; warn where that cannot be (a full disk), leaving the one before it."""
    try:
        save_checkpoint(path, model, optimizer, state)
        return True
    except OSError as error:
        warnings.warn(
            f"{path.name} cannot be written ({error.strerror}); the run goes on without",
            RunWarning,
            stacklevel=2,
        )
        return False


def try_load(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> State:
    """Load a checkpoint as `load_checkpoint`; remove a damaged one, warn, and start without it."""
    try:
        return load_checkpoint(path, model, optimizer)
    except DamagedCheckpoint as error:
        path.unlink(missing_ok=True)
        warnings.warn(
            f"{path.name} was damaged ({error}) and is removed; the run starts from before it",
            RunWarning,
            stacklevel=2,
        )
        return State()


def save_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, state: State
) -> None:
    """Weights, moments and sums as plain arrays; renamed into place, so it is whole or absent.

    Every process of a team calls this and gives its parts of the arrays; the first one writes.
    """
    arrays: dict[str, NDArray[np.generic]] = {}
    team = team_of(model)
    for name, value in _tensors(model, optimizer):
        if team.leads:
            arrays[name] = whole(value).numpy()
        elif team.kind == "fsdp":
            whole(value)  # its part of it goes to the one that writes
    if not team.leads:
        return
    arrays["state"] = np.array(list(astuple(state)), np.float64)
    arrays = {_NAMES: np.array(sorted(arrays)), **arrays}
    temporary = path.with_suffix(".tmp")
    try:
        with temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def load_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> State:
    """Put the weights and moments at `path` back, if there is one, and say where the run is.

    Raises DamagedCheckpoint, with nothing put back, for a file that is no checkpoint of this model.
    """
    wait(team_of(model))  # the process that writes it may not have done
    if not path.exists():
        return State()
    weights = _weights(model)
    arrays = _read(path)
    for name, value in weights.items():
        if arrays[f"model.{name}"].shape != tuple(value.shape):
            raise DamagedCheckpoint(f"{name} is not of the model's shape")
    state, moments = _state(arrays["state"]), _moments(arrays, optimizer)

    for name, value in weights.items():
        value.copy_(part_like(value, torch.from_numpy(arrays[f"model.{name}"])))
    saved = optimizer.state_dict()
    saved["state"] |= moments
    optimizer.load_state_dict(saved)
    return state


def _read(path: Path) -> Mapping[str, NDArray[np.generic]]:
    """Every array of a checkpoint, whole."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = _Arrays({name: stored[name] for name in stored.files})
    except OSError as error:
        raise InputError(
            f"{path}: the checkpoint cannot be read ({error.strerror}); remove it or mend it"
        ) from None
    except Exception as error:  # garbage can raise nearly anything
        raise DamagedCheckpoint(" ".join(str(error).split()) or type(error).__name__) from None
    names = arrays.pop(_NAMES, None)  # one of an older version has none
    if not all(isinstance(x, np.ndarray) and x.dtype.kind in "fiub" for x in arrays.values()):
        raise DamagedCheckpoint("it holds what is no array of numbers")
    if isinstance(names, np.ndarray) and names.tolist() != sorted(arrays):
        raise DamagedCheckpoint("some of its arrays are missing")
    return arrays


class _Arrays(dict[str, NDArray[np.generic]]):
    def __missing__(self, name: str) -> NDArray[np.generic]:
        raise DamagedCheckpoint(f"{name} is missing")


def _state(numbers: NDArray[np.generic]) -> State:
    # One written before a field was there lacks it, and has it at its default.
    values = dict(zip((f.name for f in fields(State)), numbers.tolist(), strict=False))
    try:
        whole = {name: int(values.get(name, 0)) for name in ("step", "loss_count", "start")}
    except (TypeError, ValueError, OverflowError):
        raise DamagedCheckpoint("it does not say where the run is") from None
    return State(**values | whole)


def _moments(
    arrays: Mapping[str, NDArray[np.generic]], optimizer: torch.optim.Optimizer
) -> dict[int, dict[str, torch.Tensor]]:
    """The optimizer's part of a checkpoint, by the number of the parameter."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    found: dict[int, dict[str, torch.Tensor]] = {}
    for key, array in arrays.items():
        if key.startswith("optimizer."):
            match = re.fullmatch(r"optimizer\.(\d{1,9})\.(\w+)", key)
            if match is None:
                raise DamagedCheckpoint(f"{key} is no part of an optimizer")
            index, name = match.groups()
            parameter = parameters[int(index)] if int(index) < len(parameters) else torch.empty(())
            shape = parameter.shape
            # A moment is as large as its parameter, one number, or a row or column of it.
            if array.ndim and (
                array.ndim != len(shape)
                or any(a not in (1, b) for a, b in zip(array.shape, shape, strict=True))
            ):
                raise DamagedCheckpoint(f"{key} is not of the model's shape")
            moment = part_like(parameter, torch.from_numpy(array))
            found.setdefault(int(index), {})[name] = moment
    return found


def _tensors(
    model: nn.Module, optimizer: torch.optim.Optimizer
) -> Iterator[tuple[str, torch.Tensor]]:
    """All that is saved besides the sums, by name, in the same order in every process."""
    for name, value in _weights(model).items():
        yield f"model.{name}", value
    for index, moments in optimizer.state_dict()["state"].items():
        for key, value in moments.items():
            if value is not None:  # SGD without momentum has none
                yield f"optimizer.{index}.{key}", value


def _weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Every parameter once, detached, by name: a tied head does not appear twice."""
    return {name: value.detach() for name, value in model.named_parameters()}
