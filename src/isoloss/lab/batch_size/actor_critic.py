"""Playing as a task: segments of play as examples, and an advantage actor-critic's loss of each.

An example is what one of many environments showed in T frames, the policy's weights held. Segments
of different environments are independent given the weights; those of one environment that follow
each other are not, so environments take turns, and a draw has two segments of one only where it
asks for more than there are.

    A_t = sum over l of (discount blend)^l delta_(t+l),   delta_t = r_t + discount V_(t+1) - V_t
    loss = mean over t of  -ln pi(a_t) A_t + value/2 (V_t - R_t)^2 - entropy H_t,   R_t = A_t + V_t

Advantages are not scaled by their spread in the batch: an example's loss would then depend on the
others, and the mean of gradients would not be the gradient of the mean.
Source: Mnih et al. 2016 (the algorithm, its bonus); Schulman et al. 2016 (the blend of horizons).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from isoloss.errors import InputError
from isoloss.lab.batch_size.task import Examples

Array: TypeAlias = NDArray[Any]

Step: TypeAlias = Callable[[Array], tuple[Array, Array, Array, Array]]
"""From (envs,) actions to what is seen next, rewards, where the game ended, where time did."""


@dataclass(frozen=True)
class Method:
    """What the actor-critic is told: weights of the loss, and how far ahead it looks.

    frames: T, of a segment. discount: by frame. blend: 0 looks one frame ahead before it trusts the
    value, 1 to the end of the segment. value, entropy: weights of the two terms.
    """

    frames: int
    discount: float = 0.99
    blend: float = 0.95
    value: float = 0.5
    entropy: float = 0.01


@dataclass
class Scene:
    """Environments as they stand: what is seen (envs, ...), and which are over.

    An environment that is over starts anew at its next step, whatever the action: that frame is of
    no episode and weighs nothing.
    """

    seen: Array
    over: Array


def play(
    model: nn.Module, scene: Scene, step: Step, method: Method, random: torch.Generator
) -> Examples:
    """Let the policy play T frames of every environment, and move `scene` on.

    model: from what is seen to (logits (envs, actions), values (envs,)); its weights are held.
    Returns observations (envs, T, ...), actions, advantages, value targets and weights, which are 0
    for frames of no episode, each (envs, T).
    """
    kept: list[tuple[Array, ...]] = []
    with torch.no_grad():
        for _ in range(method.frames):
            logits, value = model(torch.from_numpy(scene.seen))
            actions = sample(logits, random)
            seen, reward, ended, cut = step(actions)
            kept.append((scene.seen, actions, value.numpy(), reward, ended, cut, ~scene.over))
            scene.seen, scene.over = seen, ended | cut
        last = model(torch.from_numpy(scene.seen))[1].numpy()
    seen, actions, values, rewards, ended, cut, weights = (
        np.stack(one, axis=1) for one in zip(*kept, strict=True)
    )
    values = np.concatenate([values, last[:, None]], axis=1)
    gained = advantages(rewards, values, ended, cut, method)
    return tuple(
        torch.from_numpy(one)
        for one in (
            seen,
            actions.astype(np.int64),
            gained.astype(np.float32),
            (gained + values[:, :-1]).astype(np.float32),
            weights.astype(np.float32),
        )
    )


def sample(logits: Tensor, random: torch.Generator) -> Array:
    """Draw actions (envs,) with the odds that the logits give (envs, actions)."""
    below = logits.softmax(dim=-1).cumsum(dim=-1)[:, :-1]  # without the last, which rounds to 1
    luck = torch.rand(len(logits), 1, generator=random)
    return np.asarray((luck > below).sum(dim=-1).numpy())


def advantages(
    rewards: Array, values: Array, ended: Array, cut: Array, method: Method
) -> NDArray[np.float64]:
    """How much better each frame went than its value said.

    rewards, ended, cut: (envs, T). values: (envs, T + 1), the last of what is seen after. A game
    that ended is worth nothing after; one whose time was up is worth what its last frame is.
    """
    found = np.zeros(rewards.shape)
    ahead = np.zeros(len(rewards))
    for t in reversed(range(rewards.shape[1])):
        after = np.where(ended[:, t], 0.0, values[:, t + 1])
        surprise = rewards[:, t] + method.discount * after - values[:, t]
        on = ~(ended[:, t] | cut[:, t])
        ahead = surprise + method.discount * method.blend * on * ahead
        found[:, t] = ahead
    return found


def segment_losses(model: nn.Module, examples: Examples, method: Method) -> Tensor:
    """The loss (segments,) of each segment that `play` returned."""
    seen, actions, gained, targets, weights = examples
    logits, values = model(seen.flatten(0, 1))
    log_odds = logits.log_softmax(dim=-1).view(*actions.shape, -1)
    chosen = log_odds.gather(-1, actions[..., None])[..., 0]
    entropy = -(log_odds.exp() * log_odds).sum(dim=-1)
    missed = (values.view_as(targets) - targets).square()
    loss: Tensor = -chosen * gained + 0.5 * method.value * missed - method.entropy * entropy
    return (loss * weights).mean(dim=1)


def environments(extra: str) -> Any:
    """The module named `extra`, gymnasium or ale_py.

    Raises InputError where it is not installed.
    """
    try:
        return __import__(extra)
    except ImportError as error:
        raise InputError(
            f"games need {extra.replace('_', '-')}: pip install 'isoloss[rl]'"
        ) from error
