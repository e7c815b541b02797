"""One run on several processes: who takes which rows, and what all of them must agree on.

A run is the same run however many processes train it: the batch of a step is that of one process,
each takes as many of its rows, and gradients are averaged, so that loss and weights are those of
one process to rounding. What to choose:

* ddp: every process holds the whole model and the whole optimizer; gradients are averaged.
* fsdp: each holds a part of every block, of its gradient and of its moments, and fetches a block
  when it is needed. For models that one device does not hold. The whole is built on each process
  once, before it is cut.

The team lives in torch's process group; every function here is called by all of its processes, in
the same order. One process alone has no group, and all of this costs it nothing.
Source: Li et al. 2020 (arXiv:2006.15704), DDP; Zhao et al. 2023 (arXiv:2304.11277), FSDP, here as
torch's `fully_shard`.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from isoloss.errors import InputError
from isoloss.lab.models import LanguageModel
from isoloss.runs import RecordWriter

Kind = Literal["ddp", "fsdp"]


@dataclass(frozen=True)
class Team:
    """The processes that train one run together, as one of them sees it.

    rank: its number, from 0, which alone writes. size: how many. kind: how the model is shared.
    device: where this one's model lives.
    """

    rank: int = 0
    size: int = 1
    kind: Kind = "ddp"
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def facts(self) -> dict[str, Any]:
        """What the record says of it: nothing of one process alone."""
        return {"processes": self.size, "parallel": self.kind} if self.size > 1 else {}


ALONE = Team()


@contextmanager
def join(kind: Kind) -> Iterator[Team]:
    """Join the processes that torchrun has started, and be their team until the end.

    Each takes the GPU of its LOCAL_RANK where there are GPUs, and else the processor.
    Raises InputError outside torchrun, and where a machine has fewer GPUs than processes.
    """
    try:
        size, local = int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_RANK"])
    except (KeyError, ValueError):
        raise InputError(
            "this process was not started by torchrun (no WORLD_SIZE); use isoloss train --nproc"
        ) from None
    device = torch.device("cpu")
    if torch.cuda.is_available():
        if local >= torch.cuda.device_count():
            raise InputError(
                f"process {local + 1} of this machine has no GPU of its own, for it has "
                f"{torch.cuda.device_count()}: start no more processes than that"
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    group = torch.distributed
    own = device if device.type == "cuda" else None
    group.init_process_group("nccl" if own else "gloo", device_id=own)
    yield Team(group.get_rank(), size, kind, device)
    group.destroy_process_group()  # not after an error: the others may never come to it


def spread(model: LanguageModel, team: Team) -> LanguageModel:
    """Share a fresh model, the same in every process, and return what trains and evaluates it.

    The model itself keeps its names and parameters, which with fsdp become parts of the whole
    (DTensors): the optimizer is made after this, and checkpoints are of the model.
    """
    if team.size == 1:
        return model
    return TeamModel(model, team)


class TeamModel(LanguageModel):
    """A model that a team trains. In training its loss is that of this process's own rows, and
    gradients come out averaged; in evaluation each takes a part of the rows it is given, and all
    of them learn the losses of all.
    """

    def __init__(self, model: LanguageModel, team: Team) -> None:
        super().__init__(model.shape, model.dropout)
        self.team = team
        setattr(model, _STAMP, team)
        self.shared = _share(_Loss(model.to(team.device)), team)

    def loss(self, ids: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
        """Cross-entropy in nats of `targets` (b, t): the mean, or with "none" one per token."""
        if self.training:
            return self._shared(ids, targets, reduction)
        # A tensor made in inference mode could not be trained with, and fsdp keeps what it makes.
        with torch.inference_mode(False), torch.no_grad():
            losses = self._evaluated(ids, targets).to(ids.device)
        return losses.mean() if reduction == "mean" else losses

    def last_part(self, last: bool) -> None:
        """Say whether the next part of a batch is its last, before which ddp averages nothing.

        fsdp averages every part: to put it off, each process would hold the whole gradient.
        """
        if self.team.kind == "ddp":
            ddp = cast(nn.parallel.DistributedDataParallel, self.shared)
            ddp.require_backward_grad_sync = last  # as its no_sync() does

    def _shared(self, ids: Tensor, targets: Tensor, reduction: str) -> Tensor:
        device, cached = self.team.device, torch.is_autocast_cache_enabled()
        # Autocast keeps what it has narrowed: with fsdp, all of the model that was let go again.
        torch.set_autocast_cache_enabled(cached and self.team.kind == "ddp")
        try:
            return cast(Tensor, self.shared(ids.to(device), targets.to(device), reduction))
        finally:
            torch.set_autocast_cache_enabled(cached)

    def _evaluated(self, ids: Tensor, targets: Tensor) -> Tensor:
        team, rows = self.team, len(ids)
        each = -(-rows // team.size)
        # Where rows do not divide, the last ones are done again: all make the same calls.
        mine = torch.arange(team.rank * each, (team.rank + 1) * each).clamp(max=rows - 1)
        part = self._shared(ids[mine], targets[mine], "none")
        if team.kind == "fsdp":
            # The root keeps what it fetched for a backward pass, which is not to come; meanwhile
            # its parameters are no parts, and nothing could be put back into them.
            cast(Any, self.shared).reshard()
        parts = [torch.empty_like(part) for _ in range(team.size)]
        torch.distributed.all_gather(parts, part)
        return torch.cat(parts)[: targets.numel()]


_STAMP = "team"


class _Loss(nn.Module):
    """A model's loss as a module's forward, which is where ddp and fsdp do their work."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, targets: Tensor, reduction: str) -> Tensor:
        return self.model.loss(ids, targets, reduction)


def _share(module: _Loss, team: Team) -> nn.Module:
    if team.kind == "ddp":
        wrapper = nn.parallel.DistributedDataParallel
        known = inspect.signature(wrapper).parameters
        name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
        # Buffers are tables that never change. (The second name is that of torch before 2.13.)
        as_they_are: dict[str, Any] = {name: False}
        return wrapper(module, gradient_as_bucket_view=True, **as_they_are)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard  # slow to load, and only this needs it

    mesh = init_device_mesh(team.device.type, (team.size,))
    # Bottom up: each block is a group of its own, and the root has the rest. Embedding and head are
    # in the root together, for a tied head is one parameter, and one parameter is in one group.
    for block in getattr(module.model, "blocks", ()):
        fully_shard(block, mesh=mesh)
    fully_shard(module, mesh=mesh)
    return module


def last_part(model: LanguageModel, last: bool) -> None:
    """Say whether the next part of a batch is its last; only a team's model needs to know."""
    if isinstance(model, TeamModel):
        model.last_part(last)


def agree(team: Team, loss: Tensor, due: bool) -> tuple[float, bool]:
    """The mean of every process's loss, and what the first of them holds to be due.

    All get the same, to the bit, so that what they decide by it they decide alike.
    """
    if team.size == 1:
        return float(loss), due
    flag = torch.tensor(float(due and team.leads), dtype=torch.float64, device=team.device)
    both = torch.stack((loss.detach().double() / team.size, flag))
    torch.distributed.all_reduce(both)
    mean, asked = both.tolist()
    return mean, asked > 0


def all_say(team: Team, answers: list[bool]) -> list[bool]:
    """To each question whether every process says yes."""
    if team.size == 1:
        return answers
    said = torch.tensor(answers, dtype=torch.int32, device=team.device)
    torch.distributed.all_reduce(said, op=torch.distributed.ReduceOp.MIN)
    return [bool(one) for one in said.tolist()]


def wait(team: Team) -> None:
    """Wait until every process is here."""
    if team.size > 1:
        torch.distributed.barrier()


def team_of(model: nn.Module) -> Team:
    """The team that a model was spread over."""
    return cast(Team, getattr(model, _STAMP, ALONE))


def whole(value: Tensor) -> Tensor:
    """All of a tensor of which this process may hold a part, in main memory."""
    full = getattr(value, "full_tensor", None)
    return (full() if full else value).detach().cpu()


def part_like(example: Tensor, value: Tensor) -> Tensor:
    """This process's part of a whole tensor, as the example of the same shape is cut."""
    if not hasattr(example, "full_tensor") or value.shape != example.shape:
        return value
    from torch.distributed.tensor import DTensor, distribute_tensor

    cut = cast(DTensor, example)
    # Every process has read the whole, so nothing need be sent.
    return distribute_tensor(
        value.to(cut.device), cut.device_mesh, cut.placements, src_data_rank=None
    )


def open_record(path: Path, step: int, team: Team) -> RecordWriter:
    """Open the record as `RecordWriter.resume` does; only the first process of a team writes it."""
    writer = RecordWriter.resume(path, step) if team.leads else _Unwritten()
    wait(team)  # what is read of the record from here on is what was kept of it
    return writer


class _Unwritten(RecordWriter):
    """Takes what a record takes, and leaves nothing: another process writes it."""

    def __init__(self) -> None:
        self._run_id = None

    def close(self) -> None:
        """Nothing is open."""

    def _write(self, line: Any) -> None:
        """Nothing is written."""
