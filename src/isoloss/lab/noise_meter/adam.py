"""What Adam makes of a gradient before it steps: an elementwise product with P, from its state.

    update = P g,     P = rate / (sqrt(v_hat) + eps)

v_hat is the mean of squared gradients of the steps before, so P does not depend on the gradient it
weighs. A loss that falls by G'u along an update u, and curves by u'H u, has the noise scale
tr(P H P Sigma) / (G'P H P G) for u = P g. Where H is in proportion to P^-1, as Adam hopes, that is
tr(P Sigma) / (G'P G): B_simple with squared norms g'P g. Momentum is left out. Rates that differ
between groups of parameters count relative to the largest, so a schedule changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from isoloss.errors import InputError


class AdamScales:
    """P of each parameter, by its name, as the state of an Adam or AdamW has it now."""

    def __init__(
        self, optimizer: torch.optim.Optimizer, parameters: Mapping[str, torch.nn.Parameter]
    ) -> None:
        """Look up the parameters' groups.

        Raises InputError for another optimizer, one that does not train a parameter, and parameters
        that are cut (FSDP), whose whole gradient has no whole state beside it.
        """
        if not isinstance(optimizer, torch.optim.Adam | torch.optim.AdamW):
            raise InputError(
                f"the optimizer is a {type(optimizer).__name__}; gradients are weighed as Adam and "
                "AdamW do: leave optimizer out for plain ones"
            )
        if any(isinstance(one, DTensor) for one in parameters.values()):
            raise InputError(
                "the model is cut (FSDP), and so is Adam's state: no process can weigh a whole "
                "gradient with it; leave optimizer out, or measure under DDP"
            )
        groups = {id(one): group for group in optimizer.param_groups for one in group["params"]}
        for name, parameter in parameters.items():
            if id(parameter) not in groups:
                raise InputError(f"the optimizer does not train {name}; freeze it, or add it")
        self._optimizer, self._parameters = optimizer, parameters
        self._groups = {name: groups[id(one)] for name, one in parameters.items()}

    def ready(self) -> bool:
        """Whether every parameter that has a gradient has a state, too."""
        state = self._optimizer.state
        return all(one.grad is None or state.get(one) for one in self._parameters.values())

    def __getitem__(self, name: str) -> Tensor:
        """P of a parameter, of its shape; one where it has no state yet."""
        state, group = self._optimizer.state.get(self._parameters[name]), self._groups[name]
        if not state:
            return torch.ones_like(self._parameters[name])
        mean_square = state["max_exp_avg_sq" if group["amsgrad"] else "exp_avg_sq"]
        correction = 1.0 - group["betas"][1] ** state["step"]
        rates = [float(one["lr"]) for one in self._optimizer.param_groups]
        share = float(group["lr"]) / max(rates) if max(rates) > 0 else 1.0
        scales: Tensor = share / ((mean_square / correction).sqrt() + group["eps"])
        return scales


def adam_scales(
    optimizer: torch.optim.Optimizer,
    parameters: Mapping[str, torch.nn.Parameter],
    gradient: Sequence[Tensor],
) -> tuple[Tensor, ...]:
    """P of each parameter beside a gradient at held weights, whose parts may be zero.

    Raises InputError as `AdamScales` does, and where a part is not zero and has no state yet.
    """
    scales = AdamScales(optimizer, parameters)
    for (name, parameter), part in zip(parameters.items(), gradient, strict=True):
        if not optimizer.state.get(parameter) and bool(part.any()):
            raise InputError(
                f"the optimizer has taken no step with {name}, and cannot weigh its gradient: "
                "train first"
            )
    return tuple(scales[name] for name in parameters)
