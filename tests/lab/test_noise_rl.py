"""Playing as a task: advantages, segments' losses, and the environments they come from."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the lab needs torch: install isoloss[lab]")

from isoloss.errors import InputError  # noqa: E402
from isoloss.experiments import noise_atari, noise_control  # noqa: E402
from isoloss.lab.batch_size.actor_critic import (  # noqa: E402
    Method,
    Scene,
    advantages,
    environments,
    play,
    sample,
    segment_losses,
)
from isoloss.lab.batch_size.curve import train_curve  # noqa: E402
from isoloss.lab.batch_size.task import Learner  # noqa: E402

METHOD = Method(frames=6, discount=0.9, blend=0.8)


def made_up_play(envs: int, seed: int = 0) -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    """A pole-balancer and segments of made-up play, some frames of no episode."""
    torch.manual_seed(seed)
    model = noise_control.Balancer()
    model.policy.weight.data.mul_(100)
    shape = (envs, METHOD.frames)
    examples = (
        torch.randn(*shape, 4),
        torch.randint(0, 2, shape),
        torch.randn(shape),
        torch.randn(shape),
        (torch.rand(shape) > 0.2).float(),
    )
    return model, examples


def test_advantages_are_the_blend_of_every_horizon() -> None:
    # By the definition: sums of k rewards and the value after them, weighed (1 - blend) blend^k.
    rng = np.random.default_rng(3)
    rewards, values = rng.normal(size=(40, 6)), rng.normal(size=(40, 7))
    ended, cut = rng.random((40, 6)) < 0.1, rng.random((40, 6)) < 0.1
    found = advantages(rewards, values, ended, cut, METHOD)
    for env in range(40):
        over = ended[env] | cut[env]
        for t in range(6):
            last = t + int(np.argmax(over[t:])) if over[t:].any() else 5
            horizons = []
            for end in range(t, last + 1):
                earned = sum(
                    METHOD.discount ** (k - t) * rewards[env, k] for k in range(t, end + 1)
                )
                after = 0.0 if ended[env, end] else values[env, end + 1]
                horizons.append(earned + METHOD.discount ** (end - t + 1) * after)
            size = len(horizons)
            weights = [(1 - METHOD.blend) * METHOD.blend**k for k in range(size - 1)]
            weights.append(METHOD.blend ** (size - 1))
            expected = np.dot(weights, horizons) - values[env, t]
            assert found[env, t] == pytest.approx(expected, abs=1e-12)


def test_the_loss_of_a_segment_is_its_own_and_the_mean_has_the_mean_gradient() -> None:
    model, examples = made_up_play(5)
    together = segment_losses(model, examples, METHOD)
    each = [segment_losses(model, tuple(x[i : i + 1] for x in examples), METHOD) for i in range(5)]
    torch.testing.assert_close(together, torch.cat(each))
    parameters = list(model.parameters())
    whole = torch.autograd.grad(together.mean(), parameters)
    parts = [torch.autograd.grad(one.sum(), parameters) for one in each]
    for index, gradient in enumerate(whole):
        mean = torch.stack([one[index] for one in parts]).mean(dim=0)
        torch.testing.assert_close(gradient, mean)


def test_the_loss_is_policy_value_and_entropy_written_out() -> None:
    model, examples = made_up_play(3, seed=1)
    seen, actions, gained, targets, weights = examples
    found = segment_losses(model, examples, METHOD).detach()
    for env in range(3):
        total = 0.0
        for t in range(METHOD.frames):
            logits, value = (one.detach() for one in model(seen[env, t : t + 1]))
            odds = torch.softmax(logits[0], 0).tolist()
            entropy = -sum(p * math.log(p) for p in odds)
            loss = -math.log(odds[int(actions[env, t])]) * float(gained[env, t])
            loss += METHOD.value / 2 * (float(value) - float(targets[env, t])) ** 2
            total += float(weights[env, t]) * (loss - METHOD.entropy * entropy)
        assert float(found[env]) == pytest.approx(total / METHOD.frames, rel=1e-4)


def test_actions_come_as_often_as_their_odds() -> None:
    odds = torch.tensor([0.1, 0.6, 0.3])
    drawn = sample(odds.log().expand(20_000, 3), torch.Generator().manual_seed(5))
    shares = np.bincount(drawn, minlength=3) / len(drawn)
    np.testing.assert_allclose(shares, odds.numpy(), atol=4 * math.sqrt(0.25 / 20_000))


def test_the_frame_after_the_end_weighs_nothing_and_play_goes_on_where_it_was() -> None:
    # A world that counts its frames, is over at every third, and then starts anew.
    class Counter:
        def __init__(self) -> None:
            self.at, self.over = 0, False

        def step(self, actions: np.ndarray) -> tuple[np.ndarray, ...]:
            self.at = 0 if self.over else self.at + 1
            self.over = self.at == 3
            seen = np.full((1, 4), self.at, np.float32)
            return seen, np.ones(1), np.array([self.over]), np.array([False])

    world, scene = Counter(), Scene(np.zeros((1, 4), np.float32), np.zeros(1, bool))
    random = torch.Generator().manual_seed(0)
    model, _ = made_up_play(1)
    first, second = (play(model, scene, world.step, METHOD, random) for _ in range(2))
    assert first[0][0, :, 0].tolist() == [0, 1, 2, 3, 0, 1]
    assert second[0][0, :, 0].tolist() == [2, 3, 0, 1, 2, 3]
    assert first[4][0].tolist() == [1, 1, 1, 0, 1, 1]
    assert second[4][0].tolist() == [1, 0, 1, 1, 1, 0]


def test_without_the_extra_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ale_py", None)
    with pytest.raises(InputError, match=r"ale-py: pip install 'isoloss\[rl\]'"):
        environments("ale_py")


# ---- with gymnasium and ale-py ---------------------------------------------------------------


@pytest.mark.full
def test_lent_poles_move_as_gymnasium_moves_them() -> None:
    # A pool's rows, played in two draws, against one vector environment of the library's own.
    gymnasium = pytest.importorskip("gymnasium")
    torch.manual_seed(0)
    model = noise_control.Balancer()
    poles = noise_control.Poles(model, seed=1)
    rows = np.arange(3)
    state, ages, over = poles._state[:, rows].copy(), poles._ages[rows], poles._over[rows]
    seen, actions, *_, weights = poles.draw(3)
    world = gymnasium.make_vec("CartPole-v1", 3, vectorization_mode="vector_entry_point")
    world.reset(seed=0)
    world.state, world.steps, world.prev_done = state.copy(), ages.copy(), over.copy()
    for t in range(noise_control.METHOD.frames):
        np.testing.assert_allclose(seen[:, t], world.state.T, rtol=1e-5)
        if world.prev_done.any():  # a new start is by luck
            break
        world.step(actions[:, t].numpy())
    else:
        assert bool(weights.all())
    poles.draw(noise_control.WORLDS - 3)
    again = poles.draw(3)[0]  # the first three once more, where they had been left
    left = seen[:, -1, 0]
    assert float((again[:, 0, 0] - left).abs().max()) < 1.0


@pytest.mark.full
def test_segments_of_a_draw_are_of_different_poles_and_do_not_resemble_each_other() -> None:
    pytest.importorskip("gymnasium")
    torch.manual_seed(0)
    learner = Learner(noise_control.task(), seed=4)
    seen = learner.draw(noise_control.WORLDS)[0]
    first = seen[:, 0].numpy()
    assert len(np.unique(first, axis=0)) == noise_control.WORLDS
    neighbours = np.corrcoef(first[:-1, 0], first[1:, 0])[0, 1]
    assert abs(neighbours) < 4 / math.sqrt(noise_control.WORLDS)
    # More than there are: the second round follows on the first.
    many = learner.draw(noise_control.WORLDS + 5)[0]
    assert len(many) == noise_control.WORLDS + 5
    follows = np.corrcoef(many[:5, -1, 0], many[-5:, 0, 0])[0, 1]
    assert follows > 0.9


@pytest.mark.full
def test_even_odds_keep_a_pole_up_for_about_22_frames() -> None:
    pytest.importorskip("gymnasium")
    frames = noise_control.lengths(lambda seen: torch.zeros(len(seen), 2))
    assert 19 < frames.mean() < 26  # 22.2 is known
    task = noise_control.task()
    assert task.baseline == pytest.approx(float((0.99**frames).mean()))
    torch.manual_seed(0)
    assert Learner(task, seed=0).held_out() == pytest.approx(task.baseline, abs=0.02)


@pytest.mark.full
def test_an_agent_learns_to_balance_a_pole() -> None:
    pytest.importorskip("gymnasium")
    task = noise_control.task()
    curve = train_curve(task, batch=30, rate=4.0, seed=0, most_steps=150, until=0.4)
    assert min(curve.loss) < 0.45 < 0.8 < task.baseline


@pytest.mark.full
def test_an_agent_sees_atari_and_its_noise_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ale_py")
    monkeypatch.setattr(noise_atari, "EPISODES", 2)
    noise_atari.random_returns.cache_clear()
    plan = replace(noise_atari.QUICK, updates=16, between=8)
    measured = []

    def measure(*given: Any) -> noise_atari.Along:
        measured.append(along(*given))
        return measured[0]

    along = noise_atari.train_player
    monkeypatch.setattr(noise_atari, "train_player", measure)
    monkeypatch.setattr(noise_atari, "QUICK", plan)
    assert noise_atari.main(["--folder", str(tmp_path), "--quick"]) == 0
    kept = json.loads((tmp_path / "atari.json").read_text(), parse_constant=pytest.fail)
    assert kept["plan"]["updates"] == 16
    (found,) = measured
    assert found.frames == (1024, 2048)
    assert all(math.isfinite(one.tr_sigma) and one.tr_sigma > 0 for one in found.scales)
    assert found.whole.steps == 16
    assert len(found.learnt) == len(found.even) == 2
    page = (tmp_path / "atari.md").read_text()
    assert page == capsys.readouterr().out
    assert "| McCandlish et al., Atari (frames) | 100 to 1,000 | 1,000 to 20,000 |" in page
    noise_atari.random_returns.cache_clear()


def test_what_beats_chance() -> None:
    even = tuple(range(100))
    better = with_returns(even, 20.0)
    worse = with_returns(even, 5.0)  # the standard error of the difference is 4.1
    assert noise_atari.beats_chance(better)
    assert not noise_atari.beats_chance(worse)


def test_an_agent_that_does_not_beat_chance_does_not_count(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    worse = with_returns(tuple(range(100)), 5.0)
    monkeypatch.setattr(noise_atari, "train_player", lambda plan, tell: worse)
    assert noise_atari.main(["--folder", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "the domain does not count" in said.err
    assert list(tmp_path.iterdir()) == []


def with_returns(even: tuple[float, ...], more: float) -> noise_atari.Along:
    from isoloss.noise import noise_scale

    whole = noise_scale([2.0, 2.1], [1.0, 1.1], small=1, big=8)
    learnt = tuple(one + more for one in even)
    return noise_atari.Along((1,), (whole,), whole, learnt, even)
