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
from isoloss.trust import forecast_curve

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
    runs = table({6: 400})
    strange = runs.replace(loss=np.where(runs.run == "run-6", 1.5 * runs.loss + 1.0, runs.loss))
    bands = [
        forecast_curve(one, "run-6", 1600, schedule=SCHEDULE).at(1600) for one in (runs, strange)
    ]
    widths = [(high - low) / mid for low, mid, high in bands]
    assert widths[1] > 1.5 * widths[0]


def test_the_loss_may_be_in_any_unit_and_the_rows_in_any_order() -> None:
    runs = table({6: 400})
    one = forecast_curve(runs, "run-6", 1600, schedule=SCHEDULE).at(1600)
    mixed = runs[np.random.default_rng(0).permutation(len(runs))]
    scaled = mixed.replace(loss=mixed.loss * 7.0)
    other = forecast_curve(scaled, "run-6", 1600, schedule=SCHEDULE).at(1600)
    np.testing.assert_allclose(np.array(other) / 7.0, one, rtol=1e-6)


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
    with pytest.raises(InputError, match="after its warm-up"):
        forecast_curve(runs, "run-6", 1600, schedule=SCHEDULE, warmup=500)
    with pytest.raises(InputError, match="batch in tokens or steps"):
        forecast_curve(runs.replace(batch=None), "run-6", 1600)
    with pytest.raises(InputError, match="level"):
        forecast_curve(runs, "run-6", 1600, level=90)
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
