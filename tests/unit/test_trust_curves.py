"""The rest of a curve: recovered where the truth is known, refused where nothing can be said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from isoloss import Shape
from isoloss.errors import InputError, UnidentifiedError
from isoloss.laws import Annealing, annealing_sums
from isoloss.runs import (
    RecordWriter,
    Runs,
    RunSpec,
    Schedule,
    read_record,
    read_runs,
    scheduled_rates,
)
from isoloss.trust import curve_data, forecast_curve
from isoloss.trust.curve_data import Curve
from isoloss.trust.curve_points import means_of, scatter

BATCH = 5e5
SCHEDULE = Schedule("cosine", warmup=0.025, final=0.1)
SIZES = (2e7, 3.1e7, 4.7e7, 8e7, 1.3e8, 2.1e8, 3.3e8, 5.2e8)
LENGTHS = (900, 1600, 1200, 1600, 2400, 1600, 1600, 1600)


def truth(n: float, steps: int, schedule: Schedule = SCHEDULE) -> np.ndarray:
    """The loss after every step of a run by the annealing law, whose floor falls with size."""
    s1, s2 = annealing_sums(scheduled_rates(schedule, steps))
    law = Annealing(L0=1.9 + 31.0 / n**0.2, A=17.0, C=0.0004, alpha=0.6)
    return law(s1, s2)


def table(
    seen: dict[int, int], noise: float = 0.003, seed: int = 0, schedule: Schedule = SCHEDULE
) -> Runs:
    """Evaluations every 50 steps of each run; `seen` cuts the runs it names after that step."""
    random = np.random.default_rng(seed)
    rows: list[tuple[float, float, float, str]] = []
    for index, (n, steps) in enumerate(zip(SIZES, LENGTHS, strict=True)):
        losses = truth(n, steps, schedule) * np.exp(noise * random.standard_normal(steps))
        rows += [
            (n, step * BATCH, float(losses[step - 1]), f"run-{index}")
            for step in range(50, seen.get(index, steps) + 1, 50)
        ]
    n, d, loss, run = zip(*rows, strict=True)
    return Runs(
        n=np.array(n), d=np.array(d), loss=np.array(loss), run=run, batch=np.full(len(n), BATCH)
    )


def test_the_end_is_foreseen_from_a_quarter_of_the_run_and_its_sisters() -> None:
    found = forecast_curve(table({6: 400}), "run-6", 1600, schedule=SCHEDULE)
    expected = truth(SIZES[6], 1600)
    assert found.form == "annealing"
    assert found.seen == 400
    assert found.sisters == 7
    np.testing.assert_array_equal(found.steps, np.arange(401, 1601))
    low, mid, high = found.at(1600)
    assert mid == pytest.approx(expected[-1], rel=0.006)
    assert low < expected[-1] < high
    assert np.mean((found.low < expected[400:]) & (expected[400:] < found.high)) > 0.9


def test_sisters_narrow_the_band_of_a_run_alone() -> None:
    runs = table({3: 400})
    together = forecast_curve(runs, "run-3", 1600, schedule=SCHEDULE)
    alone = forecast_curve(runs[runs.run == "run-3"], "run-3", 1600, schedule=SCHEDULE)
    assert alone.sisters == 0
    width = [high - low for low, _, high in (together.at(1600), alone.at(1600))]
    assert width[0] < 0.6 * width[1]


def test_the_schedule_is_what_tells_the_end_of_a_cooling() -> None:
    """A sister-less run that has not begun to cool: only the schedule says that it will."""
    cooling = Schedule("wsd", warmup=0.025, final=0.0, decay=0.3)
    runs = table({5: 1050}, noise=0.001, schedule=cooling)
    own = runs[runs.run == "run-5"]
    told = forecast_curve(own, "run-5", 1600, schedule=cooling)
    untold = forecast_curve(own, "run-5", 1600)
    assert {name for name, weight in untold.weights.items() if weight > 0} == {"kaplan"}
    assert told.weights["annealing"] > 0
    assert told.at(1600)[0] < untold.at(1600)[0]


def test_a_longer_run_than_any_sister_is_foreseen_with_a_wider_band() -> None:
    flat = Schedule("constant", warmup=0.025)
    found = forecast_curve(table({4: 600}, schedule=flat), "run-4", 2400, schedule=flat)
    low, mid, high = found.at(2400)
    assert mid == pytest.approx(truth(SIZES[4], 2400, flat)[-1], rel=0.02)
    assert low < truth(SIZES[4], 2400, flat)[-1] < high
    assert found.tested == 0


def test_the_band_covers_the_end_of_simulated_runs() -> None:
    hits = [
        (low < truth(SIZES[run], LENGTHS[run])[-1] < high)
        for run in (2, 4, 5, 6)
        for seed in (1, 2)
        for low, _, high in [
            forecast_curve(
                table({run: 450}, seed=seed), f"run-{run}", LENGTHS[run], schedule=SCHEDULE
            ).at(LENGTHS[run])
        ]
    ]
    assert sum(hits) >= 6


def test_a_run_unlike_its_sisters_is_given_a_wider_band() -> None:
    wider = []
    for seed in range(3):
        runs = table({6: 400}, seed=seed)
        strange = np.where(runs.run == "run-6", 1.5 * runs.loss + 1.0, runs.loss)
        bands = [
            forecast_curve(one, "run-6", 1600, schedule=SCHEDULE).at(1600)
            for one in (runs, runs.replace(loss=strange))
        ]
        widths = [(high - low) / mid for low, mid, high in bands]
        wider.append(widths[1] / widths[0])
    assert min(wider) > 1.2
    assert np.mean(wider) > 1.5


def test_the_loss_may_be_in_any_unit_and_the_rows_in_any_order() -> None:
    runs = table({6: 400})
    one = forecast_curve(runs, "run-6", 1600, schedule=SCHEDULE).at(1600)
    mixed = runs[np.random.default_rng(0).permutation(len(runs))]
    scaled = mixed.replace(loss=mixed.loss * 7.0)
    other = forecast_curve(scaled, "run-6", 1600, schedule=SCHEDULE).at(1600)
    np.testing.assert_allclose(np.array(other) / 7.0, one, rtol=1e-6)


def test_clocks_are_shared_by_a_forecast_and_forgotten_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def counted(rates: np.ndarray, memory: float) -> tuple[np.ndarray, np.ndarray]:
        asked.append((len(rates), memory))
        return annealing_sums(rates, memory)

    monkeypatch.setattr(curve_data, "annealing_sums", counted)
    runs = table({6: 400})
    for times in (1, 2):
        forecast_curve(runs, "run-6", 1600, schedule=SCHEDULE)
        assert len(asked) == times * 2 * len(set(LENGTHS))


def dense(count: int, seed: int, noise: float = 0.004) -> Runs:
    """Evaluations of 2.5 + 80 / s ** 0.6 up to step 10,000, evenly in steps."""
    step = np.unique(np.round(np.linspace(1e4 / count, 1e4, count)))
    random = np.random.default_rng(seed)
    loss = (2.5 + 80 * step**-0.6) * np.exp(noise * random.standard_normal(step.size))
    every = np.ones(step.size)
    return Runs(
        n=1e8 * every, d=step * BATCH, loss=loss, run=["a"] * step.size, batch=BATCH * every
    )


def test_more_evaluations_of_a_run_foresee_its_end_better() -> None:
    truth_there, noise = 2.5 + 80 * 4e4**-0.6, 0.004
    random = np.random.default_rng(99)
    spread = {}
    for count in (100, 1000):
        bands = [forecast_curve(dense(count, seed), "a", 40_000).at(40_000) for seed in range(12)]
        ends = truth_there * np.exp(noise * random.standard_normal(len(bands)))
        spread[count] = np.sqrt(np.mean([np.log(mid / truth_there) ** 2 for _, mid, _ in bands]))
        held = [low < end < high for (low, _, high), end in zip(bands, ends, strict=True)]
        assert np.mean(held) >= 0.8
    assert spread[1000] < 0.002
    assert spread[1000] < spread[100] < 0.005


def test_the_points_of_a_dense_curve_lie_evenly_in_log_steps_and_are_means() -> None:
    step = np.arange(1.0, 10_001.0)
    curve = Curve("a", step, step**-0.5, np.zeros(3))
    found = means_of(curve, 1000.0, 10_000.0, 24, 0.5, None)
    assert 20 <= found.x.size <= 25
    np.testing.assert_allclose(found.loss, found.x**-0.5)
    np.testing.assert_allclose(found.log_step, np.log(found.x))
    middle = np.diff(found.log_step)[1:-2]
    assert middle.max() < 2.1 * middle.min()
    assert found.log_step[-1] > np.log(9500.0)
    # A bend at the cut shows in no point on the near side of it.
    bent = Curve("a", step, np.where(step > 5000, 9.0, 1.0), np.zeros(3))
    assert set(means_of(bent, 1000.0, 10_000.0, 24, 0.5, None).loss.round(9)) == {1.0, 9.0}
    sparse = means_of(curve.until(1010.0), 1000.0, 10_000.0, 24, 1.0, None)
    np.testing.assert_allclose(sparse.x, np.arange(1000.0, 1011.0))


def test_the_scatter_of_evaluations_is_measured_and_no_outlier_is_taken_for_it() -> None:
    random = np.random.default_rng(1)
    step = np.arange(10.0, 10_001.0, 10.0)
    loss = (2.5 + 80 * step**-0.6) * np.exp(0.02 * random.standard_normal(step.size))
    loss[::50] *= 1.5
    assert scatter(Curve("a", step, loss, np.zeros(3))) == pytest.approx(0.02, rel=0.12)
    assert scatter(Curve("a", step[:20], loss[:20], np.zeros(3))) == 0.0


def test_what_cannot_be_forecast_is_refused_in_a_line() -> None:
    runs = table({6: 400})
    own = runs[runs.run == "run-6"]
    with pytest.raises(UnidentifiedError, match="2 evaluations"):
        forecast_curve(own[:2], "run-6", 1600, schedule=SCHEDULE)
    with pytest.raises(InputError, match="no curve of a run 'run-9'"):
        forecast_curve(runs, "run-9", 1600)
    with pytest.raises(InputError, match="later step"):
        forecast_curve(runs, "run-6", 400, schedule=SCHEDULE)
    with pytest.raises(InputError, match="planned to end at step 800"):
        forecast_curve(runs, "run-6", 1600, schedule=SCHEDULE, steps=800)
    with pytest.raises(UnidentifiedError, match="after its warm-up"):
        forecast_curve(runs, "run-6", 1600, schedule=SCHEDULE, warmup=500)
    with pytest.raises(InputError, match="batch in tokens or steps"):
        forecast_curve(runs.replace(batch=None), "run-6", 1600)
    with pytest.raises(InputError, match="level"):
        forecast_curve(runs, "run-6", 1600, level=90)
    for step in (float("nan"), float("inf"), -float("inf"), 0, 900.5, 1e9):
        with pytest.raises(InputError, match="whole number of steps from 1 to 20,000,000"):
            forecast_curve(runs, "run-6", step, schedule=SCHEDULE)  # type: ignore[arg-type]
    found = forecast_curve(runs, "run-6", 900, schedule=SCHEDULE, steps=1600)
    with pytest.raises(InputError, match="does not hold step 950"):
        found.at(950)


def test_records_bring_their_own_schedules_and_may_be_unfinished(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    shape = Shape(2, 16, 2, vocab=256, n_ctx=64)
    base = RunSpec(shape, 200_000, 256, 0.01, schedule=Schedule("linear", warmup=0.05))
    specs = [
        replace(base, seed=seed, tokens=t) for seed, t in enumerate((200_000, 154_000, 180_000))
    ]
    for number, spec in enumerate(specs):
        s1, s2 = annealing_sums(scheduled_rates(spec.schedule, spec.steps))
        losses = Annealing(1.5 + 0.02 * number, 9.0, 0.0006, 0.6)(s1, s2)
        losses = losses * np.exp(0.002 * random.standard_normal(len(losses)))
        with RecordWriter(tmp_path / f"{spec.run_id}.jsonl") as writer:
            writer.header(spec, {"name": "text", "tokens": 1e6}, {}, {})
            for step in range(60, spec.steps + 1, 40):
                if number == 2 and step > 300:
                    break
                writer.point(step, step * 256, float(losses[step - 1]))
            if number != 2:
                last = float(losses[-1])
                writer.point(spec.steps, spec.tokens_seen, last)
                writer.end("finished", step=spec.steps, tokens=spec.tokens_seen, loss=last)
    runs = read_runs(tmp_path)
    assert len(runs) == 2
    assert runs.specs[specs[0].run_id] == specs[0]
    record = read_record(tmp_path / f"{specs[2].run_id}.jsonl")
    found = forecast_curve(runs, record, specs[2].steps)
    assert found.sisters == 2
    assert found.at(specs[2].steps)[1] == pytest.approx(float(losses[-1]), rel=0.02)
    alone = forecast_curve(None, record, specs[2].steps)
    assert alone.sisters == 0
    with pytest.raises(InputError, match="planned to end"):
        forecast_curve(runs, record, specs[2].steps + 1)
