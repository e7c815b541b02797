"""Batch sizes of reinforcement learning on classic control: balancing a pole, one agent.

    python -m isoloss.experiments.noise_control --folder FOLDER

The loss is a regret: what a pole that never falls would earn, less what the policy earns from the
start, discounted as in its training; E 0.99^n for episodes of n frames, with the policy's own odds.
States and luck are the same at every evaluation, and a pole that is up after 250 frames counts as
fallen then: the regret is never below 0.99^250 = 0.081.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from isoloss.experiments.batch_size.command import run
from isoloss.experiments.batch_size.scan import ScanPlan
from isoloss.experiments.batch_size.study import TABLE_1, StudyPlan
from isoloss.lab.batch_size.actor_critic import (
    Array,
    Method,
    Scene,
    environments,
    play,
    sample,
    segment_losses,
)
from isoloss.lab.batch_size.task import Draw, Examples, Task

LONGEST = 500  # frames of an episode, each a reward of one
WORLDS = 1024  # environments that take turns
EPISODES = 128  # of an evaluation, and
WATCHED = 250  # frames of each
_EVALUATION = 20_000
METHOD = Method(frames=8, discount=0.99, blend=0.95, value=0.5, entropy=0.01)

SCAN = ScanPlan(
    batches=(1, 3, 9, 27, 80, 230, 520),
    targets=(0.7, 0.6, 0.5, 0.4, 0.3),
    most_examples=40_000,
    most_steps=3_000,
    seeds=2,
)
PLAN = StudyPlan(
    SCAN,
    TABLE_1["Atari (frames)"],
    "a pole on a cart, four numbers instead of pictures, a net of 1,315 parameters; theirs are "
    "Atari games, seen by convolutions. They have no row of classic control.",
    noise_batch=27,
    noise_examples=8_192,
)
QUICK = replace(
    PLAN,
    scan=replace(SCAN, batches=(9, 27), targets=(0.75, 0.65), most_examples=4_000, seeds=1),
    noise_batch=27,
    noise_examples=512,
)


class Balancer(nn.Module):
    """Two layers of 32 that policy and value share: 1,315 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh())
        self.policy, self.value = nn.Linear(32, 2), nn.Linear(32, 1)
        with torch.no_grad():  # begins with even odds
            self.policy.weight.mul_(0.01)
            self.policy.bias.zero_()

    def forward(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.body(seen)
        return self.policy(hidden), self.value(hidden)[:, 0]


def task() -> Task:
    """Balance a pole. Raises InputError where gymnasium is not installed."""
    version = environments("gymnasium").__version__
    return Task(
        name="CartPole",
        unit="frames",
        units=METHOD.frames,
        model=Balancer,
        stream=segments,
        losses=losses,
        held_out=regret,
        baseline=random_regret(),
        trivial="actions at even odds",
        rate=3.0,
        rate_batch=16,
        data=f"gymnasium {version}",
    )


def losses(model: nn.Module, examples: Examples) -> Tensor:
    """The loss of each segment."""
    return segment_losses(model, examples, METHOD)


class Poles:
    """Poles on carts, of which any number moves on: gymnasium's own dynamics.

    A vector environment steps all it has. So that a draw of any size takes the next ones in turn,
    their states are kept here and lent to a vector environment of the size that is asked for.
    """

    def __init__(self, model: nn.Module, seed: int) -> None:
        """Start WORLDS of them and play on until they are wherever this policy takes them."""
        self._model, self._seed, self._turn = model, seed, 0
        self._random = torch.Generator().manual_seed(seed)
        self._worlds: dict[int, Any] = {}
        world = self._world(WORLDS)
        self._seen = world.reset(seed=seed)[0]
        self._over = np.zeros(WORLDS, bool)
        self._state = world.state.copy()
        # Ages differ, or all those that last would come to their end together.
        self._ages = np.random.default_rng(seed).integers(0, LONGEST, WORLDS).astype(np.int32)
        self._play(np.arange(WORLDS), replace(METHOD, frames=LONGEST))

    def draw(self, count: int) -> Examples:
        """The next segments of `count` environments, all different up to WORLDS."""
        rows = (self._turn + np.arange(count)) % WORLDS
        self._turn = (self._turn + count) % WORLDS
        rounds = np.split(rows, range(WORLDS, count, WORLDS))
        drawn = zip(*(self._play(some, METHOD) for some in rounds), strict=True)
        return tuple(torch.cat(one) for one in drawn)

    def _play(self, rows: NDArray[np.intp], method: Method) -> Examples:
        world = self._world(len(rows))
        world.state, world.steps = self._state[:, rows], self._ages[rows]
        world.prev_done = self._over[rows]
        scene = Scene(self._seen[rows], self._over[rows])

        def step(actions: Array) -> tuple[Array, Array, Array, Array]:
            seen, reward, ended, cut, _ = world.step(actions)
            # Returns are near one where a pole stays up, so that values are as large as odds.
            return seen, reward * (1 - method.discount), ended.copy(), cut.copy()

        examples = play(self._model, scene, step, method, self._random)
        self._state[:, rows], self._ages[rows] = world.state, world.steps
        self._seen[rows], self._over[rows] = scene.seen, scene.over
        return examples

    def _world(self, count: int) -> Any:
        if count not in self._worlds:
            self._worlds[count] = world = _cart_poles(count)
            world.reset(seed=self._seed + count)
        return self._worlds[count]


def segments(model: nn.Module, seed: int) -> Draw:
    """A stream of segments that the policy of `model` plays."""
    return Poles(model, seed).draw


def regret(model: nn.Module) -> float:
    """The discounted reward that the policy of `model` misses, as a share of all there is."""
    return float((METHOD.discount ** lengths(lambda seen: model(seen)[0])).mean())


@cache
def random_regret() -> float:
    """The regret of even odds."""
    return float((METHOD.discount ** lengths(lambda seen: torch.zeros(len(seen), 2))).mean())


def lengths(logits: Callable[[Tensor], Tensor]) -> NDArray[np.float64]:
    """Frames of EPISODES, WATCHED at most, with states and luck that are always the same."""
    world = _cart_poles(EPISODES)
    seen, _ = world.reset(seed=_EVALUATION)
    luck = torch.Generator().manual_seed(_EVALUATION)
    frames, going = np.zeros(EPISODES), np.ones(EPISODES, bool)
    while going.any() and frames.max() < WATCHED:
        seen, _, ended, cut, _ = world.step(sample(logits(torch.from_numpy(seen)), luck))
        frames += going
        going &= ~(ended | cut)
    return frames


def _cart_poles(count: int) -> Any:
    return environments("gymnasium").make_vec(
        "CartPole-v1", num_envs=count, vectorization_mode="vector_entry_point"
    )


def main(words: Sequence[str] | None = None) -> int:
    """Make the study and print its page; returns the exit code."""
    return run(task, PLAN, QUICK, words)


if __name__ == "__main__":
    sys.exit(main())
