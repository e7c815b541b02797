"""The critical batch at the command line: fitted to runs of several batches, and in a plan."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Command

from isoloss.counting import Shape
from isoloss.laws import CriticalBatch
from isoloss.runs import RecordWriter, Runs, RunSpec, read_runs, write_runs

DOCS = Path(__file__).resolve().parents[2] / "docs" / "cli.md"
LAW = CriticalBatch(b_star=60_000.0, alpha_b=0.3)


def write_curves(path: Path, batches: np.ndarray) -> Path:
    """Learning curves whose steps follow S_min (1 + B_crit / B), with half a percent of noise."""
    random = np.random.default_rng(0)
    loss = np.linspace(4.2, 2.0, 40)
    parts = []
    for batch in batches:
        steps = 2100.0 / (loss - 1.5) ** (1 / 0.76) * (1 + LAW(loss) / batch)
        parts.append(
            Runs(
                n=np.full(40, 1e6),
                d=steps * batch,
                loss=loss * np.exp(0.005 * random.standard_normal(40)),
                steps=steps,
                batch=np.full(40, batch),
                run=[f"{batch:g}"] * 40,
            )
        )
    write_runs(Runs.concat(parts), path)
    return path


@pytest.fixture
def curves(tmp_path: Path) -> Path:
    return write_curves(tmp_path / "curves.csv", 2.0 ** np.arange(6, 18))


def write_records(folder: Path, batches: list[int]) -> None:
    """The same as records of finished runs."""
    shape = Shape(n_layer=2, d_model=16, n_heads=2, vocab=256, n_ctx=32)
    for batch in batches:
        spec = RunSpec(shape, tokens=4096 * batch, batch=batch, lr=0.01)
        with RecordWriter(folder / f"{spec.run_id}.jsonl") as writer:
            writer.header(spec, {"name": "text", "hash": "ab"}, {}, {})
            done = 0
            for loss in np.linspace(4.2, 2.0, 40).tolist():
                steps = 2100.0 / (loss - 1.5) ** (1 / 0.76) * (1 + float(LAW(loss)) / batch)
                done = max(done + 1, round(steps))
                writer.point(done, done * batch, loss)
            writer.end("finished", step=done, tokens=done * batch, loss=2.0)


WORDS = ("--form", "critical-batch")


def test_a_folder_of_records_has_the_curves(isoloss: Command, tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    write_records(tmp_path / "records", [2**power for power in range(6, 18, 2)])
    done = isoloss("fit", "records", *WORDS, "--targets", "3,2.7,2.4", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["b_crit"]["mid"] == pytest.approx(LAW([3, 2.7, 2.4]), rel=0.02)
    plan = isoloss("plan", "--flops", "1e18", "--critical-batch", "records")
    assert plan.returncode == 0, plan.stderr


def test_fit_gives_the_critical_batch_its_law_and_zhangs(isoloss: Command, curves: Path) -> None:
    done = isoloss("fit", curves.name, *WORDS, "--targets", "3,2.7,2.4,2.2")
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    for words in ("b_star / loss^(1/alpha_b)", "Zhang's", "12 runs", "Kaplan et al. 2020"):
        assert words in said
    assert max(len(line.rstrip()) for line in done.stdout.splitlines()) <= 80
    done = isoloss("fit", curves.name, *WORDS, "--targets", "3,2.7,2.4,2.2", "--json")
    found = json.loads(done.stdout)
    assert found["law"]["alpha_b"] == pytest.approx(0.3, rel=0.05)
    assert found["b_crit"]["mid"] == pytest.approx(LAW([3, 2.7, 2.4, 2.2]), rel=0.05)
    assert found["zhang"]["mid"] == pytest.approx(
        1.2 * 64 + 0.2 * np.array(found["b_crit"]["mid"]), rel=1e-6
    )
    wide = json.loads(isoloss("fit", curves.name, *WORDS, "--level", 0.99, "--json").stdout)
    assert wide["level"] == 0.99
    assert len(wide["target"]) == 5


def documented(curves: Path, path: Path, extra: str = "") -> Path:
    """The same curves in the columns that docs/cli.md names, and no others but `extra`."""
    runs = read_runs(curves)
    assert runs.steps is not None
    assert runs.batch is not None
    rows = zip(runs.run, runs.steps, runs.batch, runs.loss, strict=True)
    tail = [extra, "2e9"] if extra else []
    lines = [
        ",".join([str(run), *(repr(float(x)) for x in numbers), *tail[1:]])
        for run, *numbers in rows
    ]
    path.write_text("\n".join([",".join(["run,steps,batch,loss", *tail[:1]]), *lines]), "utf-8")
    return path


@pytest.mark.parametrize("extra", ["", "params", "tokens"])
def test_the_documented_table_is_enough(
    isoloss: Command, curves: Path, tmp_path: Path, extra: str
) -> None:
    assert "(`run`, `steps`, `batch` in tokens, `loss`" in DOCS.read_text("utf-8")
    plain = documented(curves, tmp_path / "plain.csv", extra)
    words = (*WORDS, "--targets", "3,2.7,2.4", "--json")
    found, expected = isoloss("fit", plain.name, *words), isoloss("fit", curves.name, *words)
    assert found.returncode == 0, found.stderr
    assert "'batch' is taken as tokens per step" in found.stderr
    assert "write millions" not in found.stderr
    told = json.loads(found.stdout)
    assert told["b_crit"] == json.loads(expected.stdout)["b_crit"]
    assert set(told["n"]) == {2e9 if extra == "params" else 1.0}
    done = isoloss(*PLAN, "--critical-batch", plain.name, "--json")
    assert done.returncode == 0, done.stderr
    (plan,) = json.loads(done.stdout)["plans"]
    (same,) = json.loads(isoloss(*PLAN, "--critical-batch", curves.name, "--json").stdout)["plans"]
    assert plan["training"]["batch"] == same["training"]["batch"]
    refused = isoloss("fit", plain.name)  # other laws ask for as much as before
    assert refused.returncode == 1


def test_a_batch_of_sequences_is_told_from_one_of_tokens(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("run,steps,batch,loss,n_ctx\na,10,8,3.0,64\na,20,8,2.5,64\n", "utf-8")
    runs = read_runs(path, evaluations=True)
    assert runs.batch is not None
    assert runs.batch.tolist() == [512, 512]
    assert runs.d.tolist() == [5120, 10240]
    path.write_text("run,steps,batch,loss,tokens\na,10,8,3.0,5120\na,20,8,2.5,10240\n", "utf-8")
    again = read_runs(path, evaluations=True)
    assert again.batch is not None
    assert again.batch.tolist() == [512, 512]


def test_fit_draws_and_writes_the_critical_batch(
    isoloss: Command, curves: Path, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    for _ in range(2):  # the second time over what the first has written
        done = isoloss("fit", curves.name, *WORDS, "--figure", "s.svg", "--out", "b.json")
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "s.svg").read_text(encoding="utf-8").startswith("<?xml")
    assert json.loads((tmp_path / "b.json").read_text("utf-8"))["zhang"]["low"]


def test_one_target_has_no_law(isoloss: Command, curves: Path) -> None:
    done = isoloss("fit", curves.name, *WORDS, "--targets", 2.5)
    assert done.returncode == 0
    assert "one target loss gives a critical batch and no law" in done.stdout


def test_batches_that_do_not_span_it_are_exit_code_3(isoloss: Command, tmp_path: Path) -> None:
    narrow = write_curves(tmp_path / "narrow.csv", 2.0 ** np.arange(11, 17))
    done = isoloss("fit", narrow.name, *WORDS)
    assert done.returncode == 3
    assert "run batches of" in done.stderr
    done = isoloss("plan", "--flops", "1e18", "--critical-batch", narrow.name)
    assert done.returncode == 3
    assert "run batches of" in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--targets", "3"], 2, "--targets belongs to --form critical-batch"),
        (["--figure", "s.svg"], 2, "--figure belongs to --form critical-batch"),
        ([*WORDS, "--x", "n"], 2, "a way of its own; leave out --x"),
        ([*WORDS, "--draws", "0"], 2, "leave out --draws 0"),
        ([*WORDS, "--fix", "b_star=1"], 2, "leave out --fix"),
        ([*WORDS, "--all"], 2, "leave out --all, --conventions"),
        ([*WORDS, "--targets", "three"], 2, "not of the form 3.2,3.0,2.8"),
        ([*WORDS, "--targets", "99"], 1, "choose targets between"),
        ([*WORDS, "--figure", "curves.csv"], 1, "holds the runs themselves"),
    ],
)
def test_wrong_words_are_one_line(
    isoloss: Command, curves: Path, words: list[str], code: int, says: str
) -> None:
    done = isoloss("fit", curves.name, *words)
    assert done.returncode == code
    assert done.stdout == ""
    assert says in done.stderr.splitlines()[-1]


# In a plan --------------------------------------------------------------------------------------

PLAN = ("plan", "--flops", "1e18", "--law", "hoffmann")


def test_plan_follows_a_critical_batch_and_says_what_the_least_would_be(isoloss: Command) -> None:
    words = ("--critical-batch", "b_star=2e8,alpha_b=0.21")
    done = isoloss(*PLAN, *words)
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    for part in ("your critical batch: 2.00, 2.00", "2.00 x E_min", "2.00 x S_min", "not tuned"):
        assert part in said
    assert max(len(line.rstrip()) for line in done.stdout.splitlines()) <= 80
    (plan,) = json.loads(isoloss(*PLAN, *words, "--json").stdout)["plans"]
    law = CriticalBatch(2e8, 0.21)
    assert plan["training"]["batch"]["mid"] == pytest.approx(float(law(plan["loss"]["mid"])))
    (fixed,) = json.loads(isoloss(*PLAN, *words, "--batch", "4M", "--json").stdout)["plans"]
    own = fixed["training"]["rules"][0]
    assert own["over_tokens"] == pytest.approx(1 + 4e6 / float(law(plan["loss"]["mid"])))
    three = isoloss("plan", "--flops", "1e18", *words)
    assert "your critical" in three.stdout


def test_plan_fits_a_critical_batch_and_carries_its_doubt(isoloss: Command, curves: Path) -> None:
    done = isoloss(*PLAN, "--critical-batch", curves.name, "--json")
    assert done.returncode == 0, done.stderr
    (plan,) = json.loads(done.stdout)["plans"]
    low, mid, high = plan["training"]["batch"].values()
    assert low < mid < high
    assert mid == pytest.approx(float(LAW(plan["loss"]["mid"])), rel=0.1)
    done = isoloss(*PLAN, "--critical-batch", curves.name, "--level", 0.5, "--json")
    narrow = json.loads(done.stdout)["plans"][0]["training"]["batch"]
    assert low < narrow["low"] < narrow["high"] < high


def test_plan_reads_back_the_fit_that_was_written(
    isoloss: Command, curves: Path, tmp_path: Path
) -> None:
    done = isoloss("fit", curves.name, *WORDS, "--out", "law.json", "--level", 0.5)
    assert done.returncode == 0, done.stderr
    for level in (0.9, 0.5):  # the plan's own, whatever that of the fit was
        words = ("--level", level, "--json")
        found = isoloss(*PLAN, "--critical-batch", "law.json", *words)
        assert found.returncode == 0, found.stderr
        assert found.stdout == isoloss(*PLAN, "--critical-batch", curves.name, *words).stdout
    again = isoloss("fit", curves.name, *WORDS, "--out", "law.json", "--targets", 2.5)
    assert again.returncode == 0, again.stderr
    done = isoloss(*PLAN, "--critical-batch", "law.json")
    assert done.returncode == 1
    assert "fitted at one target loss" in done.stderr
    content = json.loads((tmp_path / "law.json").read_text("utf-8"))
    for rows in (None, {**content["rows"], "steps": [1.0]}, {**content["rows"], "more": []}):
        (tmp_path / "law.json").write_text(json.dumps({**content, "rows": rows}), "utf-8")
        done = isoloss(*PLAN, "--critical-batch", "law.json")
        assert done.returncode == 1
        assert "or give the runs" in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_plan_repeats_what_the_fit_is_doubted_for(isoloss: Command, tmp_path: Path) -> None:
    few = write_curves(tmp_path / "few.csv", 2.0 ** np.array([6, 9, 12, 15, 17]))
    fitted = isoloss("fit", few.name, *WORDS)
    assert "doubt (" in fitted.stdout
    done = isoloss(*PLAN, "--critical-batch", few.name)
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "of the fit of the critical batch: hardly more runs than coefficients" in said


@pytest.mark.parametrize(
    ("value", "code", "says"),
    [
        ("b_star=2e8", 2, "not of the form b_star=2e8,alpha_b=0.21"),
        ("b_star=2e8,alpha_b=-1", 2, "not of the form"),
        ("b_star=2e8,b_star=1,alpha_b=1", 2, "gives b_star twice"),
        ("nothing.csv", 1, "no such file or folder"),
        ("plain.csv", 1, "need 'steps' at every evaluation"),
    ],
)
def test_a_wrong_critical_batch_is_one_line(
    isoloss: Command, tmp_path: Path, value: str, code: int, says: str
) -> None:
    (tmp_path / "plain.csv").write_text("params,tokens,loss\n1e8,2e9,3.3\n", "utf-8")
    done = isoloss(*PLAN, "--critical-batch", value)
    assert done.returncode == code
    assert done.stdout == ""
    assert says in done.stderr
    assert "Traceback" not in done.stderr
