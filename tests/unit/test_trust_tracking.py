"""A run on, above and below its course, in Python and on the command line."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from isoloss import Shape
from isoloss.cli.app import run as command
from isoloss.cli.track import EXIT_CODES
from isoloss.counting import count_params
from isoloss.errors import InputError, UnidentifiedError
from isoloss.fitting import fit
from isoloss.laws import Annealing, Chinchilla, KaplanND, annealing_sums
from isoloss.runs import (
    RecordWriter,
    Runs,
    RunSpec,
    Schedule,
    read_record,
    read_runs,
    scheduled_rates,
)
from isoloss.trust import Draws, FittedLaw, bootstrap, read_fit, track
from isoloss.trust.tracking import WITHIN, compute_factor

LAW = Chinchilla(1.4, 16.0, 150.0, 0.33, 0.37)
COUNT = "non_embedding_plus_head"
FINAL = 1.03
"""The final text is that much harder than the block along the curve."""


FORECAST = {
    "n": [1e6, 2e6],
    "d": [1e8, 1e8],
    "loss": [3.0, 2.9],
    "draws": 50,
    "seed": 0,
    "least_noise": 0.0,
}


def write(
    folder: Path, spec: RunSpec, factor: float = 1.0, until: float = 1.0, seed: int = 0
) -> Path:
    """A record whose end lies at `factor` times the law, cut after a share of the run."""
    end = factor * float(LAW(count_params(spec.shape, COUNT), spec.tokens_seen))
    s1, s2 = annealing_sums(scheduled_rates(spec.schedule, spec.steps))
    curve = Annealing(0.0, 9.0, 0.0006, 0.6)(s1, s2)
    curve = curve - curve[-1] + end / FINAL
    curve = curve * np.exp(0.001 * np.random.default_rng(seed).standard_normal(curve.size))
    path = folder / f"{spec.run_id}.jsonl"
    with RecordWriter(path) as writer:
        writer.header(spec, {"name": "text", "tokens": 1e7}, {}, {})
        for step in range(60, round(spec.steps * until) + 1, 60):
            writer.point(step, step * spec.batch, float(curve[step - 1]))
        if until == 1.0:
            writer.point(spec.steps, spec.tokens_seen, end / FINAL)
            writer.end("finished", step=spec.steps, tokens=spec.tokens_seen, loss=end)
    return path


@pytest.fixture
def base() -> RunSpec:
    shape = Shape(2, 16, 2, vocab=256, n_ctx=64)
    return RunSpec(shape, 305_920, 256, 0.01, schedule=Schedule("cosine", warmup=0.05))


@pytest.fixture
def sisters(tmp_path: Path, base: RunSpec) -> Path:
    folder = tmp_path / "sisters"
    folder.mkdir()
    widths = (8, 16, 24, 32, 8, 16, 24, 32, 40)
    for seed, width in enumerate(widths):
        shape = Shape(2, width, 2, vocab=256, n_ctx=64)
        tokens = 305_920 if seed < 4 else 262_144
        write(folder, replace(base, shape=shape, seed=seed, tokens=tokens), seed=seed)
    return folder


def fitted() -> FittedLaw:
    residuals = 0.002 * np.random.default_rng(0).standard_normal(30)
    return FittedLaw(LAW, residuals, COUNT)


@pytest.mark.parametrize(
    ("factor", "verdict"), [(1.0, "on course"), (1.12, "above"), (0.9, "below")]
)
def test_a_run_is_on_above_or_below_its_course(
    tmp_path: Path, base: RunSpec, sisters: Path, factor: float, verdict: str
) -> None:
    run = read_record(write(tmp_path, replace(base, seed=77), factor, until=0.5))
    course = track(run, fitted(), sisters=read_runs(sisters))
    assert course.verdict == verdict
    truth = factor * float(LAW(course.n, course.d))
    assert course.forecast.mid == pytest.approx(truth, rel=0.02)
    assert course.shift == pytest.approx(np.log(FINAL), abs=0.003)
    low, mid, high = (float(end) for end in course.compute_factor)
    assert low <= mid <= high
    if verdict == "on course":
        assert low < 1 < high
    else:
        assert (high < 1) if verdict == "above" else (low > 1)
    again = float(LAW(course.n * mid**0.5, course.d * mid**0.5))
    assert again == pytest.approx(float(course.forecast.mid), rel=1e-6)


def test_an_interval_that_holds_a_factor_of_four_cannot_tell(
    tmp_path: Path, base: RunSpec, sisters: Path
) -> None:
    run = read_record(write(tmp_path, replace(base, seed=76), until=0.5))
    sharp, vague = fitted(), replace(fitted(), residuals=150 * fitted().residuals)
    family = read_runs(sisters)
    course = track(run, sharp, sisters=family)
    low, _, high = (float(end) for end in course.compute_factor)
    assert course.verdict == "on course"
    assert 1 / WITHIN < low < 1 < high < WITHIN
    course = track(run, vague, sisters=family)
    low, _, high = (float(end) for end in course.compute_factor)
    assert course.verdict == "cannot tell"
    assert low < 1 / WITHIN or high > WITHIN


def test_without_sisters_it_says_what_it_took_for_granted(tmp_path: Path, base: RunSpec) -> None:
    run = read_record(write(tmp_path, replace(base, seed=78), until=0.7))
    course = track(run, fitted())
    assert course.shift == 0.0
    assert any("held-out text" in note for note in course.notes)
    assert any("resamples" in note for note in course.notes)


def test_the_compute_factor_is_the_root_and_knows_its_ends() -> None:
    assert compute_factor(LAW, 2e7, 3e9, float(LAW(2e7 * 1.5, 3e9 * 1.5))) == pytest.approx(2.25)
    assert compute_factor(LAW, 2e7, 3e9, 1.39) == np.inf
    assert compute_factor(LAW, 2e7, 3e9, 1e6) == 0.0
    flat = Chinchilla(1.4, 0.0, 0.0, 0.33, 0.37)
    with pytest.raises(UnidentifiedError, match="does not fall"):
        compute_factor(flat, 2e7, 3e9, 1.5)


def test_resamples_widen_what_the_law_expects() -> None:
    plain = fitted()
    sample = {name: np.full(50, value) for name, value in LAW.coefficients().items()}
    sample["E"] = np.linspace(1.3, 1.5, 50)
    doubted = replace(plain, sample=sample)
    widths = [np.ptp(np.array(law.loss(1e6, 1e8, 0.9))) for law in (plain, doubted)]
    assert widths[1] > 2 * widths[0]


def test_one_gross_outlier_does_not_widen_what_the_law_expects() -> None:
    plain = fitted()
    spoiled = replace(plain, residuals=np.r_[plain.residuals[:-1], 0.8])
    widths = [np.ptp(np.log(np.array(law.loss(1e6, 1e8, 0.9)))) for law in (plain, spoiled)]
    assert 0.006 < widths[0] < 0.012
    assert widths[1] < 1.3 * widths[0]


@pytest.fixture(scope="module")
def drawn() -> Draws:
    random = np.random.default_rng(4)
    n, d = (x.ravel() for x in np.meshgrid([4e3, 9e3, 2e4, 4.5e4, 9e4], [1e5, 2.2e5, 5e5, 1.1e6]))
    loss = LAW(n, d) * np.exp(0.002 * random.standard_normal(n.size))
    runs = Runs(n=n, d=d, loss=loss, n_convention=COUNT)
    return bootstrap(fit(Chinchilla, runs), draws=100, seed=3)


@pytest.mark.parametrize("times", [1.0, 10.0, 100.0])
def test_the_expected_loss_is_that_of_predict(drawn: Draws, times: float) -> None:
    n, d = 9e4 * times**0.5, 1.1e6 * times**0.5
    law = FittedLaw.of(drawn)
    assert law.method == "forecast model"
    np.testing.assert_allclose(law.loss(n, d, 0.9), drawn.predict(n, d), rtol=1e-12)
    plain = replace(law, fit=None)
    assert plain.method == "plain"
    wide, narrow = (np.ptp(np.log(np.array(one.loss(n, d, 0.9)))) for one in (law, plain))
    # Within the runs there is no misfit beyond them to allow for.
    assert wide > (1.2 if times > 1 else 0.8) * narrow


def test_the_file_brings_back_the_forecast_of_the_draws(
    tmp_path: Path, drawn: Draws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["isoloss"])
    runs = drawn.fit.runs
    table, out = tmp_path / "runs.csv", tmp_path / "fit.json"
    columns = (runs.n.tolist(), runs.d.tolist(), runs.loss.tolist())
    rows = [f"{n!r},{d!r},{loss!r},{COUNT}" for n, d, loss in zip(*columns, strict=True)]
    table.write_text("params,tokens,val_loss,n_convention\n" + "\n".join(rows) + "\n", "utf-8")
    words = ["fit", str(table), "--out", str(out), "--draws", "100", "--seed", "3"]
    assert command(words) == 0
    law = read_fit(out)
    np.testing.assert_allclose(law.loss(9e5, 1e7, 0.9), drawn.predict(9e5, 1e7), rtol=1e-9)
    content = json.loads(out.read_text(encoding="utf-8"))
    del content["forecast"]
    out.write_text(json.dumps(content), encoding="utf-8")
    assert read_fit(out).method == "plain"
    assert command([*words[:-4], "--draws", "0"]) == 0
    assert read_fit(out).method == "forecast model"


def test_track_takes_a_fit_or_its_draws_and_says_how_it_forecast(
    tmp_path: Path, base: RunSpec, sisters: Path, drawn: Draws
) -> None:
    run = read_record(write(tmp_path, replace(base, seed=82), until=0.5))
    family = read_runs(sisters)
    by_draws, by_fit = (track(run, one, sisters=family) for one in (drawn, drawn.fit))
    assert by_draws.method == by_fit.method == "forecast model"
    assert by_draws.verdict == by_fit.verdict == "on course"
    expected = drawn.predict(by_draws.n, by_draws.d)
    np.testing.assert_allclose(by_draws.expected, expected, rtol=1e-12)
    low, _, high = by_draws.compute_factor
    assert low < 1 < high
    old = track(run, replace(FittedLaw.of(drawn), fit=None), sisters=family)
    assert old.method == "plain"
    assert any("holds no runs" in note for note in old.notes)
    assert not any("misfit" in note for note in by_draws.notes)


def test_a_law_that_the_forecast_model_does_not_cover_is_plain_and_says_so(
    tmp_path: Path, base: RunSpec, sisters: Path, drawn: Draws
) -> None:
    run = read_record(write(tmp_path, replace(base, seed=83), until=0.5))
    course = track(run, fit(KaplanND, drawn.fit.runs), sisters=read_runs(sisters))
    assert course.method == "plain"
    assert any("does not cover KaplanND" in note for note in course.notes)


def test_a_record_that_says_what_is_not_known_is_named(tmp_path: Path, base: RunSpec) -> None:
    run = read_record(write(tmp_path, replace(base, seed=84), until=0.5))
    with pytest.raises(InputError, match=f"record '{run.run_id}': unknown key 'friction'"):
        track(replace(run, spec={**run.spec, "friction": 0.9}), fitted())


def test_wrong_calls_are_refused_in_a_line(tmp_path: Path, base: RunSpec) -> None:
    run = read_record(write(tmp_path, replace(base, seed=79), until=0.5))
    with pytest.raises(InputError, match="counts parameters as 'unknown'"):
        track(run, replace(fitted(), n_convention="unknown"))
    with pytest.raises(InputError, match="bits per byte"):
        track(run, replace(fitted(), loss_unit="bits per byte"))
    done = read_record(write(tmp_path, replace(base, seed=80)))
    with pytest.raises(InputError, match="last step"):
        track(done, fitted())
    begun = read_record(write(tmp_path, replace(base, seed=81), until=0.1))
    with pytest.raises(UnidentifiedError, match="wait for 3"):
        track(begun, fitted())
    warming = read_record(write(tmp_path, replace(base, seed=85), until=0.04))
    with pytest.raises(UnidentifiedError, match="no evaluation after its warm-up"):
        track(warming, fitted())


def test_the_verb_reads_the_fit_back_and_its_exit_code_is_the_verdict(
    tmp_path: Path,
    base: RunSpec,
    sisters: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["isoloss"])
    rng = np.random.default_rng(1)
    rows = ["params,tokens,val_loss,n_convention"]
    for n in (4e3, 9e3, 2e4, 4.5e4, 9e4):
        for d in (1e5, 2.2e5, 5e5, 1.1e6):
            loss = float(LAW(n, d)) * np.exp(0.002 * rng.standard_normal())
            rows.append(f"{n:.0f},{d:.0f},{loss:.6f},{COUNT}")
    table, out = tmp_path / "runs.csv", tmp_path / "fit.json"
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    assert command(["fit", str(table), "--out", str(out), "--draws", "100"]) == 0
    law = read_fit(out)
    assert law.n_convention == COUNT
    assert {name: len(values) for name, values in law.sample.items()}["alpha"] > 25
    capsys.readouterr()
    codes = {}
    for factor, seed in ((1.0, 90), (1.12, 91), (0.9, 92)):
        record = write(tmp_path, replace(base, seed=seed), factor, until=0.5)
        words = ["track", str(record), "--law", str(out), "--sisters", str(sisters), "--json"]
        code = command(words)
        told = json.loads(capsys.readouterr().out)
        codes[told["verdict"]] = code
        assert told["curve"][-1]["step"] == base.steps
        assert set(told["compute_factor"]) == {"low", "mid", "high"}
        assert told["method"] == "forecast model"
    assert codes == {"on course": 0, "above": 4, "below": 5}
    code = command(["track", str(record), "--law", str(out)])
    page = capsys.readouterr().out
    assert code == EXIT_CODES[page.split(":")[0]]
    assert "expected by the forecast model" in page
    assert max(map(len, page.splitlines())) <= 80
    for until, seed in ((0.04, 93), (0.1, 94)):
        early = write(tmp_path, replace(base, seed=seed), until=until)
        assert command(["track", str(early), "--law", str(out)]) == 3
    content = json.loads(out.read_text(encoding="utf-8"))
    content["residuals"] = [150 * value for value in content["residuals"]]
    del content["forecast"]
    out.write_text(json.dumps(content), encoding="utf-8")
    record = write(tmp_path, replace(base, seed=95), until=0.5)
    words = ["track", str(record), "--law", str(out), "--sisters", str(sisters)]
    capsys.readouterr()
    assert command(words) == 3
    page = capsys.readouterr().out
    assert page.startswith("cannot tell: ")
    assert "what the law expects is the less sure" in " ".join(page.split())
    assert command([*words, "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["verdict"] == "cannot tell"
    assert command(["track", str(tmp_path / "none.jsonl"), "--law", str(out)]) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"form": "Law"}, "not known"),
        ({"form": "allocate"}, "not known"),
        ({"form": "__import__"}, "not known"),
        ({"law": {"E": 1.0}}, "has the coefficients"),
        ({"law": {"E": "1e", "A": 1, "B": 1, "alpha": 1, "beta": 1}}, "numbers"),
        ({"law": {"E": None, "A": 1, "B": 1, "alpha": 1, "beta": 1}}, "numbers"),
        ({"law": {"E": -1, "A": 1, "B": 1, "alpha": 1, "beta": 1}}, "negative"),
        ({"residuals": []}, "finite numbers"),
        ({"runs": 3}, "how the runs were counted"),
        ({"sample": {"E": [1.0]}}, "`sample`"),
        ({"forecast": 3}, "`forecast` must hold"),
        ({"forecast": {"n": [1.0]}}, "`forecast` must hold"),
        ({"forecast": FORECAST | {"n": [1e6]}}, "as many as `residuals`"),
        ({"forecast": FORECAST | {"n": [1e6, 0.0]}}, "positive n, d and loss"),
        ({"forecast": FORECAST | {"loss": ["a", "b"]}}, "numbers"),
        ({"forecast": FORECAST | {"draws": 0.5}}, "whole numbers"),
        ({"forecast": FORECAST, "residual": "cubic"}, "residual is"),
    ],
)
def test_a_damaged_fit_is_refused_with_its_name(
    tmp_path: Path, change: dict[str, object], words: str
) -> None:
    good = {
        "form": "Chinchilla",
        "law": {"E": 1.4, "A": 16.0, "B": 150.0, "alpha": 0.33, "beta": 0.37},
        "residuals": [0.01, -0.01],
        "runs": {"n_convention": COUNT},
    }
    path = tmp_path / "fit.json"
    path.write_text(json.dumps(good), encoding="utf-8")
    assert read_fit(path).law == Chinchilla(1.4, 16.0, 150.0, 0.33, 0.37)
    path.write_text(json.dumps({**good, **change}), encoding="utf-8")
    with pytest.raises(InputError, match=words) as caught:
        read_fit(path)
    assert "fit.json" in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "3", '{"form": "Chinchilla"}'])
def test_a_file_that_is_no_fit_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "fit.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"fit\.json"):
        read_fit(path)
    with pytest.raises(InputError, match="no such file"):
        read_fit(tmp_path / "other.json")


def test_compare_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(2)
    paths = []
    for name, ratio in (("old", 1.0), ("new", 0.9)):
        rows = ["params,tokens,val_loss"]
        for n in (4e7, 1.1e8, 3.3e8, 9e8):
            for d in (1.2e9, 5e9, 2.1e10):
                loss = (1.8 + ratio * (480 / n**0.35 + 2100 / d**0.37)) * np.exp(
                    0.003 * rng.standard_normal()
                )
                rows.append(f"{n},{d},{loss:.6f}")
        paths.append(tmp_path / f"{name}.csv")
        paths[-1].write_text("\n".join(rows) + "\n", encoding="utf-8")
    assert command(["compare", *map(str, paths)]) == 0
    assert capsys.readouterr().out.startswith("new.csv needs less compute")
    assert command(["compare", str(paths[0]), str(paths[0]), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["verdict"] == "not distinguishable"
    assert told["pairs"] == 12
    named = []
    for folder, path in zip(("first", "second"), paths, strict=True):
        (tmp_path / folder).mkdir()
        named.append(tmp_path / folder / "runs.csv")
        named[-1].write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    assert command(["compare", *map(str, named)]) == 0
    told = capsys.readouterr().out
    assert told.startswith("second/runs.csv needs less compute: first/runs.csv needs")
    assert command(["compare", str(named[0]), str(named[0])]) == 0
    assert "runs.csv (a) needs 1x the compute of runs.csv (b)" in capsys.readouterr().out
    short = tmp_path / "short.csv"
    short.write_text("\n".join(paths[0].read_text().splitlines()[:4]) + "\n", encoding="utf-8")
    assert command(["compare", str(paths[0]), str(short)]) == 3
