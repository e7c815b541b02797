"""What several processes have in common: local gradients, and those of the whole batch.

* DDP averages what each process has in `.grad`. A hook on a parameter runs before that.
* FSDP2 makes a parameter whole for a forward pass, and its whole gradient is local until it is
  averaged and cut into parts. The whole parameter is another tensor than the model's own, and is
  there from the moment a module that was given to fully_shard begins; a hook before that one's
  forward pass finds it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.nn.parallel import DistributedDataParallel
from torch.utils.weak import WeakTensorKeyDictionary

from isoloss.errors import InputError
from isoloss.lab.noise_meter.parameters import NoiseWarning, Parameters

MakeHook = Callable[[str], Callable[[Tensor], None]]
"""From the name of a parameter to what is given its local gradients."""


@dataclass(frozen=True)
class Team:
    """The processes that average their gradients, and how many copies of the model they hold."""

    group: Any = None  # None: this process alone
    size: int = 1
    copies: int = 1


def team_of(model: nn.Module) -> Team:
    """Find out who trains a model together: nobody, DDP, or FSDP2 on one mesh of all processes.

    Raises InputError for a model that is cut in another way, as far as that can be seen here.
    """
    sharded = [p for p in model.parameters() if isinstance(p, DTensor)]
    if sharded:
        mesh = sharded[0].device_mesh
        if mesh.ndim > 2 or any(p.device_mesh != mesh for p in sharded):
            raise InputError("the model is cut along several meshes; the meter knows FSDP2 on one")
        if any(p.requires_grad and not isinstance(p, DTensor) for p in model.parameters()):
            raise InputError(
                "some trained parameters are cut and some are not, and the gradients of the latter "
                "are not averaged where the meter could see it; give all of them to fully_shard"
            )
        if mesh.size() != torch.distributed.get_world_size():
            raise InputError("the mesh of the model does not hold all processes; use one that does")
        copies = mesh.size(0) if mesh.ndim == 2 else 1
        return Team(torch.distributed.group.WORLD, mesh.size(), copies)
    for module in model.modules():
        if isinstance(module, DistributedDataParallel):
            group = module.process_group
            size = torch.distributed.get_world_size(group)
            return Team(group if size > 1 else None, size, size)
    if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
        warnings.warn(
            "there are several processes, and the model is in none of the wrappers that average "
            "gradients: what is measured is that of each process alone; give the meter the wrapped "
            "model",
            NoiseWarning,
            stacklevel=3,
        )
    return Team()


def watch_gradients(model: nn.Module, parameters: Parameters, make_hook: MakeHook) -> list[Any]:
    """Have hooks called with every local gradient of a backward pass; returns what removes them."""
    handles: list[Any] = []

    def hook(name: str, parameter: Tensor) -> None:
        handle = parameter.register_hook(make_hook(name))  # type: ignore[no-untyped-call]
        handles.append(handle)

    hooked = WeakTensorKeyDictionary()  # whole parameters: torch may make them anew

    def enter(prefix: str, module: nn.Module, given: Any) -> None:
        # All that lies in the module: a weight may be used without the forward pass of its own.
        for path, inner in module.named_modules(prefix=prefix):
            for own, whole in inner._parameters.items():
                name = parameters.name_at(f"{path}.{own}" if path else own)
                if name is None or whole is None or isinstance(whole, DTensor) or whole in hooked:
                    continue
                if whole.requires_grad:
                    hooked[whole] = True
                    hook(name, whole)

    for parameter in model.parameters():
        name = parameters.name_of(parameter)
        if name is not None and not isinstance(parameter, DTensor):
            hook(name, parameter)
    if any(isinstance(p, DTensor) for p in model.parameters()):
        from torch.distributed.fsdp import FSDPModule  # slow to load, and only this needs it

        for prefix, module in model.named_modules():
            if issubclass(type(module), FSDPModule):
                handles.append(module.register_forward_pre_hook(partial(enter, prefix)))
    return handles


def gradients_left(model: nn.Module, parameters: Parameters) -> Iterator[tuple[str, Tensor]]:
    """Names, and what lies in `.grad`: a part of it, where a parameter is cut."""
    for parameter in model.parameters():
        gradient = parameter.grad
        if gradient is None:
            continue
        name = parameters.name_of(parameter)
        if name is None:
            raise InputError(
                f"a parameter of shape {tuple(parameter.shape)} has a gradient and was frozen, or "
                "not there, when the meter was made; make the meter anew"
            )
        if isinstance(gradient, DTensor):
            if not all(isinstance(one, Shard | Replicate) for one in gradient.placements):
                raise InputError(
                    f"the gradient of {name} is not added up yet; call step() after it is"
                )
            gradient = gradient.to_local()
        yield name, gradient


def total(
    team: Team, small: Tensor, big: Tensor, sizes: Tensor, *, by_tokens: bool = False
) -> tuple[Any, Any, Any]:
    """Small and big norms (steps, groups) and sizes (steps, 4) of all processes, in numpy.

    sizes: sum w / b, sum w^2 / b, tokens and sequences of each. Each process weighs alike; with
    by_tokens by its tokens T_p: its weights are then f = size T_p / sum T_p times what it held them
    for, and its small norms, which are divided by them, 1 / f.
    """
    if team.size > 1:
        device = small.device
        if torch.distributed.get_backend(team.group) == "nccl":
            device = torch.device("cuda", torch.cuda.current_device())
        counts = torch.tensor([small.shape[0], -small.shape[0]], device=device)
        torch.distributed.all_reduce(counts, torch.distributed.ReduceOp.MAX, group=team.group)
        if counts[0] != -counts[1]:
            raise InputError("the processes have measured different numbers of steps")
        if by_tokens:
            tokens = sizes[:, 2].clone().to(device)  # reduced in place
            torch.distributed.all_reduce(tokens, group=team.group)
            share = team.size * sizes[:, 2] / tokens.cpu()
            share = torch.where(sizes[:, 2] > 0, share, 1.0)[:, None]  # a step left out has none
            small = small / share
            sizes = torch.cat([sizes[:, :1] * share, sizes[:, 1:2] * share**2, sizes[:, 2:]], dim=1)
        columns = small.shape[1]
        sums = torch.cat([small, big, sizes], dim=1).to(device)
        torch.distributed.all_reduce(sums, group=team.group)
        sums = sums.cpu()
        small, big, sizes = sums[:, :columns], sums[:, columns:-4], sums[:, -4:]
        # Every copy of the model has the whole of the big norms, each of its parts some of it.
        small, big = small / team.size, big / team.copies
        sizes = sizes / torch.tensor([team.size, team.size**2, 1.0, 1.0], dtype=sizes.dtype)
    return small.numpy(), big.numpy(), sizes.numpy()
