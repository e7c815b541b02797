"""A scan over batches: which rates it tries, what it keeps, and a study of a task that is known."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from isoloss.errors import InputError
from isoloss.experiments.batch_size import command
from isoloss.experiments.batch_size import scan as module
from isoloss.experiments.batch_size import study as noise_study
from isoloss.experiments.batch_size.kept import write_json
from isoloss.experiments.batch_size.page import write_page
from isoloss.experiments.batch_size.scan import MakeTask, ScanPlan, scan
from isoloss.experiments.batch_size.study import TABLE_1, StudyPlan, mean_noise, study
from isoloss.lab.batch_size.curve import Curve, train_curve
from isoloss.lab.batch_size.noise import NoisePoint, learner_noise, noise_at_loss, trace_noise
from isoloss.lab.batch_size.task import Draw, Examples, Learner, Task, drawn_from
from isoloss.noise import noise_scale

SIZE = 12
NOISE = 1.5
BENDS = torch.logspace(-2, 0, SIZE)


class Point(nn.Module):
    """A point that is to come to the origin, from a place that is the same for every seed."""

    def __init__(self) -> None:
        super().__init__()
        self.at = nn.Parameter(0.5 / BENDS.sqrt())

    def loss(self) -> Tensor:
        return 0.5 * (BENDS * self.at.square()).sum()

    def noise_scale(self) -> float:
        return SIZE * NOISE**2 / float((BENDS * self.at.detach()).square().sum())


def stream(_: nn.Module, seed: int) -> Draw:
    random = torch.Generator().manual_seed(seed)
    return lambda count: (NOISE * torch.randn(count, SIZE, generator=random),)


def losses(model: nn.Module, examples: Examples) -> Tensor:
    """x'H x / 2 + x . noise, whose gradient is H x + noise; the tests rely on `noise_scale`."""
    (noise,) = examples
    assert isinstance(model, Point)
    return model.loss() + noise @ model.at


def held_out(model: nn.Module) -> float:
    assert isinstance(model, Point)
    return float(model.loss().detach())


def quadratic() -> Task:
    return Task(
        name="a quadratic",
        unit="draws",
        model=Point,
        stream=stream,
        losses=losses,
        held_out=held_out,
        baseline=held_out(Point()),
        trivial="where it starts",
        rate=0.1,
        rate_batch=16,
    )


PLAN = ScanPlan((1, 4, 16, 64, 256, 1024, 4096), (1.0, 0.8, 0.5), 1_000_000, 3_000, warmup=0)


def in_this_process(make_task: MakeTask, workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, initializer=module._begin, initargs=(make_task,))


PROCESSES = module._pool


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are made by a thread, for a process takes seconds to begin."""
    monkeypatch.setattr(module, "_pool", in_this_process)


def test_a_learner_takes_the_step_of_its_optimizer() -> None:
    learner, twin = Learner(quadratic(), seed=3), Learner(quadratic(), seed=3)
    examples = twin.draw(32)
    (gradient,) = twin.gradient(examples)
    expected = twin.model.at.detach() - 0.2 * gradient
    learner.update(32, 0.2)
    assert torch.allclose(learner.model.at, expected)
    assert (learner.steps, learner.seen) == (1, 32)


def test_a_large_batch_in_pieces_has_the_gradient_of_the_whole() -> None:
    learner = Learner(quadratic(), seed=1)
    examples = learner.draw(1_300)
    (found,) = learner.gradient(examples)
    expected = BENDS * learner.model.at.detach() + examples[0].mean(dim=0)
    assert torch.allclose(found, expected, atol=1e-5)


def test_a_branch_leaves_what_it_came_from_as_it_was() -> None:
    learner = Learner(replace(quadratic(), optimizer="adam"), seed=1)
    learner.update(8, 0.1)
    before = learner.model.at.detach().clone()
    one, same = learner.branch(5), learner.branch(5)
    one.update(8, 0.1)
    assert torch.equal(learner.model.at, before)
    assert learner.steps == 1
    same.update(8, 0.1)
    assert torch.equal(one.model.at, same.model.at)  # with Adam's moments, and the same examples
    other = learner.branch(6)
    other.update(8, 0.1)
    assert not torch.equal(one.model.at, other.model.at)


def test_draws_are_rows_with_their_labels() -> None:
    rows = torch.arange(100)
    draw = drawn_from(rows, rows * 2)(nn.Identity(), 0)
    x, y = draw(5_000)
    assert torch.equal(y, 2 * x)
    assert len(torch.unique(x)) == 100
    again, _ = drawn_from(rows, rows)(nn.Identity(), 0)(5_000)
    assert torch.equal(x, again)


def test_a_curve_ends_below_its_loss_and_says_where_it_diverged() -> None:
    reached = train_curve(quadratic(), batch=4096, rate=0.3, seed=0, most_steps=900, until=0.7)
    assert max(reached.loss[-3:]) <= 0.7 < reached.loss[-4]
    assert not reached.diverged
    short = train_curve(quadratic(), batch=64, rate=1e-4, seed=0, most_steps=37, until=1.0)
    assert short.steps[-1] == 37
    assert not short.diverged
    wild = train_curve(quadratic(), batch=1, rate=9.0, seed=0, most_steps=900, until=1.0)
    assert wild.diverged
    assert np.isfinite(wild.loss).all()


def test_noise_at_held_weights_is_that_of_the_task() -> None:
    learner = Learner(quadratic(), seed=2)
    truth = learner.model.noise_scale()
    scale, adam = learner_noise(learner, examples=32_768)
    assert scale.low <= truth <= scale.high
    assert scale.b_simple == pytest.approx(truth, rel=0.1)
    assert adam is None
    assert learner.steps == 0


def test_noise_along_a_run_rises_as_its_gradient_falls() -> None:
    points = trace_noise(
        quadratic(), batch=512, rate=0.2, seed=0, until=0.4, most_steps=400, examples=4_096
    )
    assert points[0].step == points[0].seen == 0
    assert points[0].scale.b_simple == pytest.approx(Point().noise_scale(), rel=0.2)
    first = next(one.step for one in points if one.loss <= 0.4)
    assert first < points[-1].step <= 1.25 * first + 1
    assert np.all(np.diff([one.loss for one in points]) < 0)
    assert points[-1].scale.low > 2 * points[0].scale.high
    there = noise_at_loss(points, 0.4)
    assert there is not None
    low, mean, high = there
    assert points[0].scale.b_simple < low < mean < high
    assert high <= max(one.scale.b_simple for one in points)
    assert noise_at_loss(points, 0.01) is None


def test_rates_are_tried_until_the_best_is_between_others(tmp_path: Path, alone: None) -> None:
    plan = replace(PLAN, batches=(4, 1024), targets=(0.5,))
    said: list[str] = []
    found = scan(quadratic, plan, tmp_path, tell=lambda what, done, total, note: said.append(note))
    assert found.tuned.bracketed.all()
    rates = {one.batch: [] for one in found.curves}
    for one in found.curves:
        rates[one.batch].append(one.rate)
    for tried in rates.values():
        steps = np.diff(np.log(sorted(tried)))
        assert np.allclose(steps, np.log(2.0))
    assert len([note for note in said if note]) == len(found.curves)


def test_a_scan_goes_on_from_what_is_there(
    tmp_path: Path, alone: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = replace(PLAN, batches=(64, 1024), targets=(0.7, 0.5))
    first = scan(quadratic, plan, tmp_path)
    files = sorted(tmp_path.glob("b*.json"))
    files[1].unlink()
    trained = []
    train = module._train

    def counted(*asked: Any) -> Curve:
        trained.append(asked)
        return train(*asked)

    monkeypatch.setattr(module, "_train", counted)
    again = scan(quadratic, plan, tmp_path)
    assert len(trained) == 1
    assert again.curves == first.curves
    with pytest.raises(InputError, match=r"another scan \(targets was \[0\.7, 0\.5\] and is"):
        scan(quadratic, replace(plan, targets=(0.6,)), tmp_path)
    with pytest.raises(InputError, match="another scan \\(data was '' and is 'newer'\\)"):
        scan(lambda: replace(quadratic(), data="newer"), plan, tmp_path)
    whole = json.loads(files[0].read_text())
    for damaged in ({}, {**whole, "loss": whole["loss"][1:]}, {**whole, "steps": [], "loss": []}):
        files[0].write_text(json.dumps(damaged))
        with pytest.raises(InputError, match=f"{files[0].name}: is no curve"):
            scan(quadratic, plan, tmp_path)
    files[0].unlink()
    files[0].mkdir()
    with pytest.raises(InputError, match=f"{files[0].name}: is no curve"):
        scan(quadratic, plan, tmp_path)


@pytest.mark.full
def test_two_processes_make_the_same_runs_as_one(tmp_path: Path, alone: None) -> None:
    plan = replace(PLAN, batches=(64, 1024), targets=(0.7, 0.5))
    one = scan(quadratic, plan, tmp_path / "one")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_pool", PROCESSES)
        two = scan(quadratic, plan, tmp_path / "two", workers=2)
    assert [(c.batch, c.rate, c.steps) for c in two.curves] == [
        (c.batch, c.rate, c.steps) for c in one.curves
    ]
    assert np.allclose(two.tuned.crossings.steps, one.tuned.crossings.steps)


def test_a_study_finds_the_critical_batch_of_a_quadratic(tmp_path: Path, alone: None) -> None:
    plan = StudyPlan(
        PLAN, TABLE_1["MNIST"], "it is a quadratic.", noise_batch=64, noise_examples=4_096
    )
    found = study(quadratic, plan, tmp_path)
    page = write_page(found, tmp_path)
    assert found.fit is not None
    assert found.refusal == ""
    # B_crit is of the size of the noise scale, weighed by the bends, and rises as that does.
    x = Point().at.detach()
    b_noise = float(NOISE**2 * BENDS.sum() / (BENDS**3 * x**2).sum())
    b_simple = [one.scale.b_simple for one in found.noise]
    assert np.all(np.diff(found.fit.b_crit.mid) > 0)
    assert (found.fit.b_crit.mid > b_noise / 4).all()
    assert (found.fit.b_crit.mid < max(b_simple)).all()
    assert min(b_simple) < mean_noise(found.noise) < max(b_simple)
    assert "| McCandlish et al., MNIST | 20 | 200 | 50 | 900 |" in page
    assert "Not a replication: it is a quadratic." in page
    kept = json.loads((tmp_path / "study.json").read_text())
    assert sorted(kept["fit"]["target"]) == pytest.approx(sorted(PLAN.targets))
    assert {one.suffix for one in tmp_path.iterdir()} >= {".png", ".svg", ".md"}
    again = study(quadratic, plan, tmp_path)
    assert again.noise == found.noise  # read, not measured again
    assert write_page(again, tmp_path) == page


def test_readings_without_an_upper_end_are_kept_as_json_and_read_again(tmp_path: Path) -> None:
    unsure = noise_scale([1.0, 1.1] * 10, [1.0, 1.0] * 10, small=2, big=8)
    weak = noise_scale([4.0, -3.9] * 10, [-3.0, 3.1] * 10, small=2, big=8)
    assert math.isinf(weak.high)
    points = (NoisePoint(0, 0, 2.0, unsure, None), NoisePoint(3, 48, 1.0, weak, unsure))
    write_json(tmp_path / "noise.json", [asdict(one) for one in points])
    kept = json.loads((tmp_path / "noise.json").read_text(), parse_constant=pytest.fail)
    assert tuple(noise_study._point(one) for one in kept) == points


def test_noise_that_is_damaged_is_told_in_a_line(tmp_path: Path, alone: None) -> None:
    plan = StudyPlan(PLAN, TABLE_1["MNIST"], "it is a quadratic.", noise_batch=64)
    plan = replace(plan, scan=replace(PLAN, batches=(64, 1024)), noise_examples=512)
    study(quadratic, plan, tmp_path)
    kept = json.loads((tmp_path / "noise.json").read_text())
    wrong = [{**kept, "points": [{**kept["points"][0], "scale": 5}]}, {**kept, "points": [{}]}]
    for content in ("{", "[]", *map(json.dumps, wrong)):
        (tmp_path / "noise.json").write_text(content)
        with pytest.raises(InputError, match=r"not whole|no noise of a study"):
            study(quadratic, plan, tmp_path)
    (tmp_path / "noise.json").write_text(json.dumps({"about": {"rate": 3}, "points": [{}]}))
    study(quadratic, plan, tmp_path)  # that of another run is measured anew
    assert json.loads((tmp_path / "noise.json").read_text()) == kept


def test_another_s_noise_is_found_before_the_scan(tmp_path: Path) -> None:
    plan = StudyPlan(PLAN, TABLE_1["MNIST"], "it is a quadratic.", noise_batch=64)
    (tmp_path / "noise.json").write_text('{"mine": 1}')
    with pytest.raises(InputError, match="no noise of a study"):
        study(quadratic, plan, tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["noise.json"]


def test_the_noise_run_takes_other_examples_where_it_does_not_get_there(
    tmp_path: Path, alone: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = StudyPlan(PLAN, TABLE_1["MNIST"], "it is a quadratic.", noise_batch=64)
    plan = replace(plan, scan=replace(PLAN, batches=(64, 1024)), noise_examples=512)
    seeds = []

    def lost_at_first(*given: Any, seed: int, until: float, **named: Any) -> tuple[Any, ...]:
        seeds.append(seed)
        above = 0.99 if len(seeds) < 3 else until
        return trace_noise(*given, seed=seed, until=above, **named)[: 2 if len(seeds) < 3 else None]

    monkeypatch.setattr(noise_study, "trace_noise", lost_at_first)
    found = study(quadratic, plan, tmp_path)
    assert seeds == [1, 2, 3]
    assert min(one.loss for one in found.noise) <= min(PLAN.targets)


def test_a_noise_run_that_diverges_ends_with_what_it_has() -> None:
    points = trace_noise(
        quadratic(), batch=512, rate=9.0, seed=0, until=0.4, most_steps=400, examples=4_096
    )
    assert 1 <= len(points) < 20
    assert all(math.isfinite(one.loss) for one in points)
    assert noise_at_loss(points, 0.4) is None


def test_a_domain_that_does_not_beat_its_baseline_does_not_count(tmp_path: Path) -> None:
    plan = StudyPlan(PLAN, TABLE_1["MNIST"], "it is a quadratic.", noise_batch=64)
    with pytest.raises(InputError, match=r"is not below 0\.4, the loss of where it starts"):
        study(lambda: replace(quadratic(), baseline=0.4), plan, tmp_path)


def test_where_no_rate_reaches_a_target_the_search_goes_where_runs_came_closest() -> None:
    def curve(rate: float, lowest: float, diverged: bool = False) -> Curve:
        return Curve(8, rate, 0, (0, 1), (3.0, lowest), diverged)

    def after(*curves: Curve) -> list[float]:
        return module._blind({one.rate: [one] for one in curves}, 2.0)

    assert after(curve(0.1, 2.0), curve(0.2, 1.9), curve(0.4, 1.8)) == [0.8]
    assert after(curve(0.1, 1.8), curve(0.2, 1.9), curve(0.4, 2.0)) == [0.05]
    assert after(curve(0.1, 1.9), curve(0.2, 1.8), curve(0.4, 1.9)) == []
    # A run that diverged came close to nothing; where all did, far below.
    assert after(curve(0.1, 2.0), curve(0.2, 1.9), curve(0.4, 1.0, True)) == []
    assert after(*(curve(rate, 1.0, True) for rate in (0.1, 0.2, 0.4))) == [0.025]
    assert after(*(curve(2.0**k, 2.0 - k / 10) for k in range(5))) == []


@pytest.mark.parametrize(
    ("files", "word"),
    [
        ({"study.md": "mine"}, "no study's"),
        ({"study.json": "[1]"}, "no study's"),
        ({"study.json": "{", "study.md": ""}, "no study's"),
    ],
)
def test_what_is_no_study_is_not_written_over(
    files: dict[str, str], word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    assert command.print_page(lambda: pytest.fail("was made"), tmp_path, "study") == 1
    assert word in capsys.readouterr().err
    assert {one.name: one.read_text() for one in tmp_path.iterdir()} == files


def test_a_study_s_own_page_that_is_damaged_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text("{")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/scan.json").write_text("{}")
    made = []
    assert command.print_page(lambda: made.append(1) or "page", tmp_path, "study") == 0
    assert made


def test_wrong_plans_are_refused() -> None:
    for change, word in (
        ({"batches": (4,)}, "two or more"),
        ({"batches": (0, 4)}, "above 0"),
        ({"targets": ()}, "targets"),
        ({"targets": (math.nan,)}, "targets"),
        ({"factor": 1.0}, "factor"),
        ({"seeds": 0}, "seed"),
    ):
        with pytest.raises(InputError, match=word):
            replace(PLAN, **change)


def test_noise_is_averaged_over_steps_and_not_over_readings() -> None:
    def at(step: int, b: float) -> NoisePoint:
        scale = noise_scale([1 + b / 2] * 20, [1 + b / 8] * 20, small=2, big=8)
        return NoisePoint(step, step, 1.0, scale, None)

    # Straight from 10 to 10 over one step, and from 10 to 40 over the other nine.
    assert mean_noise((at(0, 10.0), at(1, 10.0), at(10, 40.0))) == pytest.approx(
        (10.0 + 9 * 25.0) / 10
    )


def test_the_command_of_a_domain_says_what_is_wrong_in_a_line(tmp_path: Path, capsys) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "scan.json").write_text("{}")
    plan = StudyPlan(PLAN, TABLE_1["MNIST"], "it is a quadratic.", noise_batch=64)
    code = command.run(quadratic, plan, plan, ["--folder", str(tmp_path)])
    assert code == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: ")
    assert told.err.count("\n") == 1


@pytest.mark.parametrize("workers", ["0", "-1", "two"])
def test_processes_are_one_or_more(workers: str, tmp_path: Path, capsys) -> None:
    plan = StudyPlan(PLAN, TABLE_1["MNIST"], "it is a quadratic.", noise_batch=64)
    with pytest.raises(SystemExit, match="2"):
        command.run(quadratic, plan, plan, ["--folder", str(tmp_path), "--workers", workers])
    assert "is no number of processes" in capsys.readouterr().err


@pytest.mark.full
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells of a parent's death on Linux")
def test_workers_do_not_outlive_a_scan_that_is_killed(tmp_path: Path) -> None:
    words = ["-m", "isoloss.experiments.noise_digits", "--folder", str(tmp_path), "--workers", "2"]
    scanning = subprocess.Popen([sys.executable, *words], stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: any(tmp_path.glob("runs/b*.json")))
        workers = [pid for pid, parent in processes() if parent == scanning.pid]
        assert len(workers) >= 2
    finally:
        scanning.kill()
        scanning.wait()
    wait_for(lambda: not {pid for pid, _ in processes()} & set(workers))


def wait_for(come: Callable[[], bool], seconds: float = 120.0) -> None:
    until = time.monotonic() + seconds
    while not come():
        assert time.monotonic() < until
        time.sleep(0.05)


def processes() -> list[tuple[int, int]]:
    """The ids of all that run and are not waited for, each with its parent's."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except OSError:  # gone meanwhile
            continue
        if state != "Z":
            found.append((int(path.parent.name), int(parent)))
    return found
