"""All checks of the noise scale on a noisy quadratic, and their page."""

from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the lab needs torch: install isoloss[lab]")

from noisy_quadratic import quadratic  # noqa: E402

from isoloss.errors import InputError  # noqa: E402
from isoloss.experiments import noise_checks  # noqa: E402
from isoloss.experiments.batch_size import scan, theory  # noqa: E402
from isoloss.experiments.batch_size.scan import ScanPlan  # noqa: E402
from isoloss.experiments.batch_size.study import fit_or_refusal  # noqa: E402
from isoloss.experiments.batch_size.theory import Checks, ChecksPlan, check  # noqa: E402
from isoloss.experiments.batch_size.theory_page import as_markdown, rows, write_page  # noqa: E402
from isoloss.lab.batch_size.task import Learner, Task  # noqa: E402
from isoloss.laws.relations import BatchRate  # noqa: E402

WIDTH, NOISE = 16, 2.0
PLAN = ChecksPlan(
    ScanPlan(
        batches=(1, 4, 16, 64, 256, 1024),
        targets=(3.0, 1.5),
        most_examples=40_000,
        most_steps=2_000,
        warmup=0,
    ),
    held=(3.0,),
    train=16,
    line_batches=(1, 8, 64),
    line_gradients=16,
    hessian_repeats=40,
    branch_batch=2,
    branch_examples=256,
    factors=(1, 4, 16),
    tolerance=0.2,
    branches=2,
    saving_seeds=3,
    cold_batch=8,
    cold_loss=2.0,
    cold_seeds=2,
)


def bowl() -> Task:
    return quadratic([0.3, 1.0] * (WIDTH // 2), [1.0] * WIDTH, NOISE, rate=0.1)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Checks:
    def here(make_task: object, workers: int) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1, initializer=scan._begin, initargs=(make_task,))

    told: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan, "_pool", here)
        result = check(
            bowl,
            PLAN,
            (torch.zeros(1, WIDTH),),
            tmp_path_factory.mktemp("runs"),
            tell=lambda what, *_: told.append(what),
        )
    assert told[-1] == "sgd: hot and cold runs"
    return result


def test_a_bowl_does_what_theory_says(found: Checks) -> None:
    held = found.held[0]
    noise = held.curvature.noise
    assert held.line.of_eps.b_star.low < noise.high
    assert noise.low < held.line.of_eps.b_star.high
    assert held.line.of_eps.law.rate_max == pytest.approx(held.curvature.eps_max, rel=0.4)
    saving = found.saving
    assert saving.exchange == found.fit.b_crit.mid[found.cell]
    assert saving.runs[0].moments[-1].steps < 24  # too few for a reading
    assert math.isnan(saving.gamma)
    assert saving.measured[0] < 0.0 < saving.measured[2]  # the batch is that of the fixed runs
    assert found.temperature.low < found.temperature.ratio < found.temperature.high


def test_the_saving_is_said_where_the_noise_scale_was_read(found: Checks) -> None:
    plan = replace(PLAN, saving_seeds=2)
    saving = theory._saving(bowl(), plan, BatchRate(0.03, 2.0), found.fit, found.cell)
    assert saving.gamma == np.mean([run.gamma for run in saving.runs])
    assert 0.5 < saving.gamma < 1
    assert saving.predicted == pytest.approx((1 - math.sqrt(saving.gamma)) / 2)
    words = [row.theory for row in rows("SGD", replace(found, saving=saving))]
    assert {f"gamma {saving.gamma:.3g}", f"{saving.predicted:.1%}"} < set(words)
    assert [row.theory for row in rows("SGD", found)].count(
        "no number: the runs end before two readings"
    ) == 2


def test_the_page_has_every_check_and_its_figures(found: Checks, tmp_path: Path) -> None:
    page = write_page({"SGD": found}, tmp_path)
    table = rows("SGD", found)
    assert len(table) == 10
    for row in table:
        assert f"| {row.check} | {row.theory} | {row.measured} |" in page
    kept = json.loads((tmp_path / "checks.json").read_text())
    assert kept["SGD"]["held"][0]["noise"]["b_noise"] == found.held[0].curvature.noise.b_noise
    assert (tmp_path / "checks.md").read_text() == page == as_markdown({"SGD": found})
    names = {path.stem for path in tmp_path.glob("*.png")}
    assert names == {"sgd-branches", "sgd-rates", f"sgd-line-search-{found.held[0].loss:.2f}"}


def test_a_fit_that_is_refused_is_on_the_page_in_the_unit_of_the_task(found: Checks) -> None:
    crossings = found.scan.tuned.crossings  # at the higher target batches of 1 are not small
    assert "examples) do not span 8 times B_crit" in found.refusal
    _, refusal = fit_or_refusal(crossings, "images")
    assert refusal == found.refusal.replace("examples", "images")
    assert f"\nSGD: not identified: {found.refusal}.\n" in as_markdown({"SGD": found})
    fit, refusal = fit_or_refusal(crossings.take(crossings.target == 1.5), "images")
    assert refusal == ""
    assert "not identified" not in as_markdown({"SGD": replace(found, fit=fit, refusal=refusal)})


def test_weights_from_where_the_loss_curves_down_have_a_row_all_the_same(
    found: Checks, tmp_path: Path
) -> None:
    learner = Learner(quadratic([-1.0, 0.1], [2.0, 1.0], 0.5, rate=0.1), seed=1)
    plan = replace(PLAN, hessian_repeats=20, line_batches=(1, 8), line_gradients=4)
    held = theory._hold(learner, plan, BatchRate(0.1, 1.0), 1.0, (torch.zeros(1, 2),))
    assert math.isnan(held.curvature.noise.b_noise)
    assert held.line is None
    assert "found at 0 of 2 batches" in held.refusal
    page = write_page({"SGD": replace(found, held=(held,))}, tmp_path)
    assert page.count(f"| none: {held.refusal} |") == 2
    assert json.loads((tmp_path / "checks.json").read_text())["SGD"]["held"][0]["line"] is None
    assert not list(tmp_path.glob("*line-search*"))


def test_a_crossing_lies_on_the_smoothed_curve() -> None:
    steps = [0, 1, 2, 4, 8, 16]
    loss = [9.0, 8.0, 4.0, 2.0, 1.0, 0.5]
    assert theory._crossing(steps, loss, 3.0) == pytest.approx(8 / 3)
    with pytest.raises(InputError, match=r"did not reach 0\.1"):
        theory._crossing(steps, loss, 0.1)


def test_a_ratio_of_runs_has_an_interval_that_holds_it() -> None:
    rng = np.random.default_rng(0)
    held = []
    for _ in range(200):
        above, below = 6.0 * np.exp(0.2 * rng.normal(size=6)), 2 * np.exp(0.2 * rng.normal(size=6))
        low, middle, high = theory._ratio(above, below)
        assert low < middle < high
        held.append(low < 3.0 < high)
    assert 0.84 < np.mean(held) < 0.98
    assert math.isnan(theory._ratio(above, below - 10.0)[1])


@pytest.mark.full
def test_the_command_makes_the_checks_of_digits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("sklearn", reason="the digits need scikit-learn")
    assert noise_checks.main(["--folder", str(tmp_path), "--quick"]) == 0
    page = capsys.readouterr().out
    assert page == (tmp_path / "checks.md").read_text()
    assert "| SGD | eps_opt(B) at loss" in page
    assert "| Adam | eps_opt(B) at loss" in page
    assert len(list(tmp_path.glob("*-line-search-*.svg"))) == 4
