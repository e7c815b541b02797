"""Stopping early: which held-out point of a run was the lowest, how long ago, and its state.

Where text repeats, the held-out loss falls, turns, and rises. A run with `patience` stops when as
many points as that have passed without a new lowest one, and the loss it reports is that of the
state at the lowest, so the text that chose the state must not measure it: points are on one half of
the held-out documents, the reported loss is on the other (`evaluate.halves`).
Which point was lowest is read from the record, so a checkpoint holds nothing of it. The states of
lowest points lie beside the record as `RUN.bestN.npz`; one goes when no checkpoint needs it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from isoloss.errors import InputError
from isoloss.lab.training.checkpoint import State, load_checkpoint, save_checkpoint
from isoloss.runs import Point, RunSpec
from isoloss.runs.journal import unwritten


class BestState:
    """The lowest held-out point of a run so far, its state on disk, and the points since."""

    def __init__(self, spec: RunSpec, folder: Path, points: Sequence[Point] = ()) -> None:
        """Go on from the points of a record, none for a run that begins."""
        self.spec, self.folder = spec, folder
        self.waited = 0
        self.point: Point | None = None
        for point in points:
            self._note(point)

    def take(self, point: Point, model: nn.Module, optimizer: torch.optim.Optimizer) -> bool:
        """Note a point, keep the state if it is the lowest; whether the run should stop here."""
        if self._note(point):
            # Not a checkpoint that may be left out: without it there is no loss to report.
            path = self._path(point.step)
            try:
                save_checkpoint(path, model, optimizer, State(step=point.step))
            except OSError as error:
                raise unwritten(path.name, error) from None
        return self.waited >= self.spec.patience

    def restore(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Put the state at the lowest point back; InputError where it is gone or damaged."""
        if self.point is None:
            return
        path = self._path(self.point.step)
        try:
            found = load_checkpoint(path, model, optimizer).step
        except (OSError, ValueError, KeyError):
            found = 0
        if found != self.point.step:
            self.clear()
            (self.folder / f"{self.spec.run_id}.ckpt.npz").unlink(missing_ok=True)
            raise InputError(
                f"{path.name}, the best state of the run, is gone or damaged; the same call trains "
                "the run anew"
            )

    def clear(self, *, others: bool = False) -> None:
        """Remove the states of lowest points; others: but for the one that is lowest now."""
        if not self.spec.patience:
            return
        kept = self._path(self.point.step) if others and self.point else None
        name = re.compile(re.escape(self.spec.run_id) + r"\.best\d+\.(npz|tmp)")
        for path in self.folder.iterdir():
            if name.fullmatch(path.name) and path != kept:
                path.unlink(missing_ok=True)

    def _note(self, point: Point) -> bool:
        lowest = math.inf if self.point is None else self.point.loss
        lower = point.loss < lowest
        self.point = point if lower else self.point
        self.waited = 0 if lower else self.waited + 1
        return lower

    def _path(self, step: int) -> Path:
        return self.folder / f"{self.spec.run_id}.best{step}.npz"
