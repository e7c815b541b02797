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
from isoloss.counting import count_params
from isoloss.errors import InputError, UnidentifiedError
from isoloss.laws import Annealing, Chinchilla, annealing_sums
from isoloss.runs import RecordWriter, RunSpec, Schedule, read_record, read_runs, scheduled_rates
from isoloss.trust import FittedLaw, read_fit, track
from isoloss.trust.tracking import compute_factor

LAW = Chinchilla(1.4, 16.0, 150.0, 0.33, 0.37)
COUNT = "non_embedding_plus_head"
FINAL = 1.03
"""The final text is that much harder than the block along the curve."""


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
    assert command(["fit", str(table), "--out", str(out), "--draws", "50"]) == 0
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
    assert codes == {"on course": 0, "above": 4, "below": 5}
    assert command(["track", str(record), "--law", str(out)]) in (0, 4, 5)
    assert capsys.readouterr().out.split(":")[0] in ("on course", "above", "below")
    early = write(tmp_path, replace(base, seed=93), until=0.1)
    assert command(["track", str(early), "--law", str(out)]) == 3
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
    short = tmp_path / "short.csv"
    short.write_text("\n".join(paths[0].read_text().splitlines()[:4]) + "\n", encoding="utf-8")
    assert command(["compare", str(paths[0]), str(short)]) == 3
