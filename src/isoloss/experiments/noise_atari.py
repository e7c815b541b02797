"""The noise scale of reinforcement learning on an Atari game, along the training of one agent.

    python -m isoloss.experiments.noise_atari --folder FOLDER

Groups of environments are the parts of a batch, so the meter needs nothing that the training does
not do. A frame is one picture the agent sees and acts on, four of the game's own; a pair of the
latter is merged, as the games flicker. The scan over batches takes tens of runs as long as this
one: hours of several cores, and only with --scan.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from isoloss.errors import InputError
from isoloss.experiments.batch_size import command
from isoloss.experiments.batch_size.kept import write_json
from isoloss.experiments.batch_size.page import machine_line, noise_words
from isoloss.experiments.batch_size.scan import ScanPlan, Tell
from isoloss.experiments.batch_size.study import TABLE_1, StudyPlan
from isoloss.files import make_folder, write_whole
from isoloss.lab.batch_size.actor_critic import (
    Array,
    Method,
    Scene,
    environments,
    play,
    sample,
    segment_losses,
)
from isoloss.lab.batch_size.task import Draw, Examples, Learner, Task
from isoloss.lab.noise_meter import NoiseMeter
from isoloss.noise import NoiseScale, noise_scale
from isoloss.runs import describe_machine
from isoloss.units import format_number

GAME = "space_invaders"
BEST = 630.0  # points of its first wave: six in each of six rows, of 5 to 30 points
SIDE, STACK = 42, 4  # pixels of a picture, and pictures that are seen at once
EPISODES = 128  # of an evaluation
METHOD = Method(frames=8, discount=0.99, blend=0.95, value=0.5, entropy=0.01)
_EVALUATION = 20_000


@dataclass(frozen=True)
class AlongPlan:
    """How an agent is trained, and how often its noise is read.

    updates: in all, and between readings. batch: segments of an update, each of an environment.
    parts: groups of environments.
    """

    updates: int = 1_600
    between: int = 200
    batch: int = 16
    parts: int = 8
    seed: int = 0


@dataclass(frozen=True)
class Along:
    """The noise scale of each stretch of a training, in frames, and of all of it.

    frames: at the end of a stretch. learnt, even: points of the agent's episodes and of even odds.
    Stretches that bound it from below alone would bend a mean of them: `whole` is the average.
    """

    frames: tuple[int, ...]
    scales: tuple[NoiseScale, ...]
    whole: NoiseScale
    learnt: tuple[float, ...]
    even: tuple[float, ...]


PLAN = AlongPlan()
QUICK = AlongPlan(updates=20, between=10)
SCAN = StudyPlan(
    ScanPlan(
        batches=(4, 16, 64, 256, 1024),
        targets=(460.0, 440.0, 420.0, 400.0, 380.0),
        most_examples=250_000,
        most_steps=20_000,
    ),
    TABLE_1["Atari (frames)"],
    "one game, pictures of half the side, and an agent that has just begun to learn.",
    noise_batch=64,
    noise_examples=4_096,
)


class Player(nn.Module):
    """Two convolutions and a layer of 128, shared by policy and value."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(STACK, 16, 6, stride=3),
            nn.ReLU(),
            nn.Conv2d(16, 32, 4, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * 5 * 5, 128),
            nn.ReLU(),
        )
        self.policy, self.value = nn.Linear(128, _actions()), nn.Linear(128, 1)
        with torch.no_grad():  # begins with even odds
            self.policy.weight.mul_(0.01)
            self.policy.bias.zero_()

    def forward(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.body(seen.float() / 255)
        return self.policy(hidden), self.value(hidden)[:, 0]


def task() -> Task:
    """Play a game; its loss is BEST less the mean return, in points, and one at least.

    Raises InputError where ale-py is not installed.
    """
    return Task(
        name=f"Atari, {GAME}",
        unit="frames",
        units=METHOD.frames,
        model=Player,
        stream=segments,
        losses=losses,
        held_out=lambda model: regret(returns(lambda seen: model(seen)[0])),
        baseline=regret(random_returns()),
        trivial="actions at even odds",
        rate=1e-3,
        rate_batch=16,
        optimizer="adam",
        data=f"ale-py {environments('ale_py').__version__}",
    )


def losses(model: nn.Module, examples: Examples) -> Tensor:
    """The loss of each segment."""
    return segment_losses(model, examples, METHOD)


def segments(model: nn.Module, seed: int) -> Draw:
    """A stream of segments that the policy of `model` plays.

    Every size of a draw has environments of its own, as many, that go on where they were. Rewards
    are their signs, and a life lost is an end.
    """
    random = torch.Generator().manual_seed(seed)
    pools: dict[int, tuple[Any, Scene]] = {}

    def draw(count: int) -> Examples:
        if count not in pools:
            worlds = _worlds(count, reward_clipping=True, episodic_life=True)
            seen = worlds.reset(seed=seed * 10_000 + count)[0]
            pools[count] = worlds, Scene(seen, np.zeros(count, bool))
        worlds, scene = pools[count]
        return play(model, scene, lambda actions: worlds.step(actions)[:4], METHOD, random)

    return draw


def regret(points: Array) -> float:
    """BEST less the mean, one at least."""
    return max(BEST - float(points.mean()), 1.0)


def returns(logits: Callable[[Tensor], Tensor]) -> Array:
    """Points of EPISODES by a policy, with states and luck that are always the same."""
    worlds = _worlds(EPISODES, reward_clipping=False)
    seen, _ = worlds.reset(seed=_EVALUATION)
    luck = torch.Generator().manual_seed(_EVALUATION)
    points, going = np.zeros(EPISODES), np.ones(EPISODES, bool)
    while going.any():
        with torch.no_grad():
            actions = sample(logits(torch.from_numpy(seen)), luck)
        seen, reward, ended, cut, _ = worlds.step(actions)
        points += reward * going
        going &= ~(ended | cut)
    return points


@cache
def random_returns() -> Array:
    """Points of even odds."""
    actions = _actions()
    return returns(lambda seen: torch.zeros(len(seen), actions))


def train_player(plan: AlongPlan, tell: Tell | None = None) -> Along:
    """Train an agent, and read the meter of its noise as it learns."""
    learner = Learner(task(), seed=plan.seed)
    model, each = learner.model, plan.batch // plan.parts
    frames, scales = [], []
    with NoiseMeter(model, window=None) as meter:
        for update in range(1, plan.updates + 1):
            examples = learner.draw(plan.batch)
            for part in zip(*(torch.split(one, each) for one in examples), strict=True):
                meter.part(each * METHOD.frames, each)
                loss = losses(model, part).mean() / plan.parts
                loss.backward()  # type: ignore[no-untyped-call]
            meter.step()
            learner.optimizer.step()
            learner.optimizer.zero_grad(set_to_none=True)
            if update % plan.between == 0:
                frames.append(update * plan.batch * METHOD.frames)
                small, big, small_norms, big_norms = meter.norms()[-plan.between :].T
                scales.append(noise_scale(small_norms, big_norms, small=small, big=big))
                if tell is not None:
                    tell("frames", frames[-1], None, f"B_simple {scales[-1].b_simple:.4g}")
        whole = meter.read().scale
    learnt, even = returns(lambda seen: model(seen)[0]), random_returns()
    return Along(tuple(frames), tuple(scales), whole, tuple(learnt), tuple(even))


def beats_chance(found: Along) -> bool:
    """Whether the agent's mean is above that of even odds by two standard errors of the two.

    Of a domain where it is not, nothing counts.
    """
    learnt, even = np.array(found.learnt), np.array(found.even)
    doubt = math.hypot(_error(learnt), _error(even))
    return float(learnt.mean() - even.mean()) > 2 * doubt


def as_markdown(found: Along, plan: AlongPlan) -> str:
    """The page of a training: the paper's numbers and ours, and what differs."""
    paper = TABLE_1["Atari (frames)"]
    learnt, even = np.array(found.learnt), np.array(found.even)
    lines = [
        f"### Atari, {GAME}",
        "",
        "| in frames | B_simple, start | B_simple, average |",
        "|---|---|---|",
        f"| here | {noise_words(found.scales[0])} | {noise_words(found.whole)} |",
        f"| McCandlish et al., {paper.domain} | {paper.b_simple_start} | "
        f"{paper.b_simple_average} |",
        "",
        f"Not a replication: one game, one agent of {_size()} parameters, pictures of {SIDE} by "
        f"{SIDE}, Adam, and {found.frames[-1]:,} frames; theirs are several games, trained to the "
        "end, each at rates tuned for many batches. A frame here is four of the game's own.",
        "",
        f"Mean return of {len(learnt)} episodes {learnt.mean():.1f} +- {_error(learnt):.1f} "
        f"(standard error), against {even.mean():.1f} +- {_error(even):.1f} of actions at even "
        "odds. The start is the first row below, the average the last.",
        "",
        "| frames | B_simple, frames, 90 % interval |",
        "|---|---|",
        *(
            f"| to {count:,} | {noise_words(scale)} |"
            for count, scale in zip(found.frames, found.scales, strict=True)
        ),
        f"| all of them | {noise_words(found.whole)} |",
        "",
        f"Batches of {plan.batch} segments of {METHOD.frames} frames, in {plan.parts} parts. "
        f"{machine_line()}",
    ]
    return "\n".join(lines) + "\n"


def main(words: Sequence[str] | None = None) -> int:
    """Train an agent, leave its noise in a folder, print the page; returns the exit code."""
    parser = command.parser("The noise scale of an agent that plays Atari.")
    parser.add_argument("--scan", action="store_true", help="scan the batches instead: hours")
    options = parser.parse_args(words)
    if options.scan:
        if options.quick:
            parser.error("--quick has no scan; leave one of the two out")
        rest = ["--folder", str(options.folder)]
        rest += ["--workers", str(options.workers)] if options.workers else []
        return command.run(task, SCAN, SCAN, rest)
    plan = QUICK if options.quick else PLAN

    def page() -> str:
        make_folder(options.folder)
        found = train_player(plan, command.tell_lines)
        if not options.quick and not beats_chance(found):
            raise InputError(
                f"the agent's {np.mean(found.learnt):.1f} points are not above the "
                f"{np.mean(found.even):.1f} of even odds by two standard errors: the domain does "
                "not count; train for longer"
            )
        numbers = {"plan": asdict(plan), "found": asdict(found), "machine": describe_machine()}
        write_json(options.folder / "atari.json", numbers)
        made = as_markdown(found, plan)
        write_whole(options.folder / "atari.md", made)
        return made

    return command.print_page(page, options.folder, "atari")


def _error(points: Array) -> float:
    return float(points.std(ddof=1)) / math.sqrt(len(points))


def _size() -> str:
    return format_number(float(sum(one.numel() for one in Player().parameters())))


def _actions() -> int:
    return int(_worlds(1).single_action_space.n)


def _worlds(count: int, **options: Any) -> Any:
    return environments("ale_py").AtariVectorEnv(
        GAME, count, img_height=SIDE, img_width=SIDE, stack_num=STACK, num_threads=1, **options
    )


if __name__ == "__main__":
    sys.exit(main())
