"""Wrong input: one line that says what to do, the right exit code, and no file harmed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from conftest import Command

from isoloss.cli.app import run
from isoloss.cli.options import SizeForm

OUR_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
SWEEP = """
[defaults]
corpus = "text"
lr = 0.01
batch = 256
[defaults.shape]
vocab = 256
n_ctx = 64
n_layer = 2
n_heads = 2
[[run]]
tokens = 2000
shape = { d_model = 8 }
"""


def refused(isoloss: Command, *words: object, code: int = 1, says: str) -> str:
    """Check that the command is refused with one line and nothing on stdout; return the line."""
    done = isoloss(*words)
    assert done.returncode == code, f"{done.returncode}: {done.stdout}{done.stderr}"
    assert done.stdout == ""
    lines = [x for x in done.stderr.strip().splitlines() if not x.startswith("note: ")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert lines[0].startswith("isoloss: ")
    assert says in lines[0], lines[0]
    return lines[0]


READERS = [
    ("fit", "runs.csv"),
    ("backtest", "runs.csv"),
    ("plan", "--flops", "1e21", "--runs", "runs.csv"),
    ("report", "runs.csv", "report.html"),
]


@pytest.mark.parametrize("words", READERS)
def test_a_missing_table(isoloss: Command, words: tuple[str, ...]) -> None:
    refused(isoloss, *words, says="runs.csv: no such file")


def test_a_process_ends_with_the_code(isoloss_process: Command, runs_csv: Path) -> None:
    refused(isoloss_process, "fit", "nothing.csv", says="no such file")
    lines = runs_csv.read_text(encoding="utf-8").splitlines()[:3]
    runs_csv.write_text("\n".join(lines), encoding="utf-8")
    refused(isoloss_process, "fit", runs_csv, code=3, says="add runs")


@pytest.mark.parametrize("words", READERS)
def test_a_table_without_a_loss(isoloss: Command, runs_csv: Path, words: tuple[str, ...]) -> None:
    rows = [line.rpartition(",")[0] for line in runs_csv.read_text(encoding="utf-8").splitlines()]
    runs_csv.write_text("\n".join(rows), encoding="utf-8")
    line = refused(isoloss, *words, says="no column for the loss")
    assert "--columns loss=" in line


@pytest.mark.parametrize("words", READERS[:3])
def test_two_runs_only(isoloss: Command, runs_csv: Path, words: tuple[str, ...]) -> None:
    lines = runs_csv.read_text(encoding="utf-8").splitlines()[:3]
    runs_csv.write_text("\n".join(lines), encoding="utf-8")
    refused(isoloss, *words, code=3, says="add ")


@pytest.mark.parametrize("words", READERS[:3])
def test_all_runs_at_one_size(isoloss: Command, runs_csv: Path, words: tuple[str, ...]) -> None:
    rows = ["params,tokens,loss"]
    rows += [f"1e9,{d:.6g},{2 + 300 * d**-0.3:.6f}" for d in (1e9 * 1.6**k for k in range(12))]
    runs_csv.write_text("\n".join(rows), encoding="utf-8")
    refused(isoloss, *words, code=3, says="size")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"params,tokens,loss\n", "holds no rows"),
        (b"params,tokens,loss\n1e9,2e10,\xff\xfe\n", "not UTF-8"),
        (b"params,tokens,loss\n1e9,2e10,-1\n1e9,4e10,3\n", "loss"),
        (b"params,tokens,loss\n1e9,2e10,three\n", "three"),
    ],
)
def test_a_bad_table(isoloss: Command, tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "runs.csv").write_bytes(content)
    refused(isoloss, "fit", "runs.csv", says=says)


def test_a_pickle_is_not_opened(isoloss: Command, tmp_path: Path) -> None:
    (tmp_path / "runs.pkl").write_bytes(b"\x80\x04.")
    refused(isoloss, "fit", "runs.pkl", says="CSV or Parquet")


def test_columns_that_are_no_pairs(isoloss: Command, runs_csv: Path) -> None:
    refused(isoloss, "fit", runs_csv, "--columns", "loss", code=2, says="n=params")


def test_a_folder_without_records(isoloss: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(isoloss, "fit", "empty", says="no run records")


def test_a_report_on_runs_that_cannot_answer_says_so(isoloss: Command, runs_csv: Path) -> None:
    pytest.importorskip("matplotlib")
    lines = runs_csv.read_text(encoding="utf-8").splitlines()[:3]
    runs_csv.write_text("\n".join(lines), encoding="utf-8")
    done = isoloss("report", runs_csv, "report.html")
    assert done.returncode == 3
    assert "add runs" in done.stderr
    assert "add runs" in (runs_csv.parent / "report.html").read_text(encoding="utf-8")


def test_an_old_good_file_survives_a_failure(
    isoloss: Command, runs_csv: Path, tmp_path: Path
) -> None:
    page, fit = tmp_path / "old.html", tmp_path / "old.json"
    page.write_text(f"<!doctype html>{OUR_POLICY}", encoding="utf-8")
    fit.write_text('{"form": "Chinchilla", "law": {}, "residuals": []}', encoding="utf-8")
    before = page.read_bytes(), fit.read_bytes()
    lines = runs_csv.read_text(encoding="utf-8").splitlines()[:3]
    runs_csv.write_text("\n".join(lines), encoding="utf-8")
    refused(isoloss, "fit", runs_csv, "--out", fit, code=3, says="add runs")
    runs_csv.write_text("params,tokens\n1e9,2e10\n", encoding="utf-8")
    refused(isoloss, "report", runs_csv, page, says="no column for the loss")
    assert (page.read_bytes(), fit.read_bytes()) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old.html", "old.json", "runs.csv"]


def test_a_result_into_a_folder_that_is_not_there(isoloss: Command, runs_csv: Path) -> None:
    refused(
        isoloss,
        "fit",
        runs_csv,
        "--draws",
        "0",
        "--out",
        "no/fit.json",
        says="there is no folder no; make it first",
    )


def test_a_result_never_replaces_the_runs(isoloss: Command, runs_csv: Path) -> None:
    before = runs_csv.read_bytes()
    refused(isoloss, "fit", runs_csv, "--out", "runs.csv", says="holds the runs themselves")
    assert runs_csv.read_bytes() == before
    refused(isoloss, "fit", runs_csv, "--out", runs_csv.parent, says="is a folder; give a file")


def test_a_law_of_one_variable_asks_which_in_the_words_of_the_shell(
    isoloss: Command, runs_csv: Path
) -> None:
    refused(isoloss, "fit", runs_csv, "--form", "power", code=2, says="--x n")


def test_a_closed_stdout_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isoloss.cli.app.sys.stdout", None)
    assert run(["laws", "--json"]) == 0


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (None, "no such file"),
        ("{", "JSON"),
        ('{"model_type": "t5"}', "t5"),
        ('{"n_layer": 2, "d_model": 16, "n_heads": 2, "vocab": 256, "n_ctxx": 64}', "n_ctx"),
        ('{"n_layer": 0, "d_model": 16, "n_heads": 2, "vocab": 256, "n_ctx": 64}', "n_layer"),
    ],
)
def test_a_bad_config(isoloss: Command, tmp_path: Path, config: str | None, says: str) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config, encoding="utf-8")
    refused(isoloss, "count", "config.json", says=says)


@pytest.mark.parametrize("flops", ["-1e21", "0", "12", "nan", "inf"])
def test_a_budget_that_is_none(isoloss: Command, flops: str) -> None:
    done = isoloss("plan", f"--flops={flops}")
    assert done.returncode in (1, 2)
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_an_unknown_law(isoloss: Command) -> None:
    refused(isoloss, "plan", "--flops", "1e21", "--law", "hofman", says="did you mean HOFFMANN")


@pytest.mark.parametrize("verb", ["train", "sweep"])
@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "no such file"),
        ("lr = ", "TOML"),
        (SWEEP.replace("lr =", "learning_rte ="), "did you mean"),
        (SWEEP.replace("n_layer", "n_layers"), "n_layer"),
        (SWEEP.replace("batch = 256", "batch = 100"), "multiple of n_ctx"),
        (SWEEP.replace("[[run]]", "[run]"), "[[run]]"),
        (SWEEP.replace('corpus = "text"\n', ""), "corpus"),
        (SWEEP, "text"),
    ],
)
def test_a_bad_sweep(
    isoloss: Command, tmp_path: Path, verb: str, text: str | None, says: str
) -> None:
    if text is not None:
        (tmp_path / "sweep.toml").write_text(text, encoding="utf-8")
    refused(isoloss, verb, "sweep.toml", says=says)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "text.txt"),
        (b"", "empty"),
        (b"too little", "too little"),
        (b"word " * 20000 + b"\xff\xfe" + b"word " * 20000, "UTF-8"),
    ],
)
def test_a_bad_corpus(isoloss: Command, tmp_path: Path, content: bytes | None, says: str) -> None:
    if content is not None:
        (tmp_path / "text.txt").write_bytes(content)
    refused(isoloss, "corpus", "prepare", "text.txt", "tokens", says=says)
    assert not (tmp_path / "tokens").exists()


def test_an_unknown_corpus_entry(isoloss: Command) -> None:
    refused(isoloss, "corpus", "fetch", "pyton-stdlib", says="python-stdlib")


def test_training_several_runs_with_train(isoloss: Command, tmp_path: Path) -> None:
    two = SWEEP.replace("tokens = 2000", "tokens = [2000, 4000]")
    (tmp_path / "sweep.toml").write_text(two, encoding="utf-8")
    refused(isoloss, "train", "sweep.toml", says="isoloss sweep")


def test_a_result_never_replaces_what_is_no_result(
    isoloss: Command, runs_csv: Path, tmp_path: Path
) -> None:
    """Devices, the runs' own folder, and a folder that is not there."""
    sweep = tmp_path / "sweep"
    sweep.mkdir()
    inside = sweep / "runs.csv"
    inside.write_bytes(runs_csv.read_bytes())
    other = sweep / "other.csv"
    other.write_text("kept")
    for out, says in (
        ("/dev/null", "is no plain file"),
        (tmp_path / "nowhere" / "fit.json", "there is no folder"),
    ):
        refused(isoloss, "fit", runs_csv, "--draws", "0", "--out", out, says=says)
    refused(isoloss, "fit", sweep, "--draws", "0", "--out", other, says="lies among the runs")
    assert other.read_text() == "kept"
    refused(isoloss, "fit", runs_csv, "--seed", "-1", code=2, says="--seed")


def test_a_link_to_a_result_stays_a_link(isoloss: Command, runs_csv: Path, tmp_path: Path) -> None:
    target, link = tmp_path / "fit.json", tmp_path / "latest.json"
    link.symlink_to(target)
    assert isoloss("fit", runs_csv, "--draws", "0", "--out", link).returncode == 0
    assert link.is_symlink()
    assert target.read_text().startswith("{")


PYTHON = re.compile(r"=\{|=True|=None|\w+= |loss_unit|n_convention|given=|fixed=|\bNone\b|\(--")


@pytest.mark.parametrize(
    ("header", "words", "says"),
    [
        ("params,tokens,acc", (), "name it with --columns loss=NAME"),
        ("flops,loss,x", (), "add the parameters or the tokens, or name it with --columns n=NAME"),
        ("params,loss,x", (), "add the tokens or the FLOPs, or name it with --columns d=NAME"),
        ("params,tokens,loss", ("--columns", "nn=params"), "--columns names 'nn'"),
        ("params,tokens,loss", ("--n", "total"), ""),
        ("params_total,tokens,loss", ("--n", "active"), "--n-convention says how"),
        ("params,tokens,loss", ("--form", "power"), "such as --x n"),
        ("params,tokens,loss", ("--form", "kaplan-ns"), "with --critical-batch b_star=2e8"),
        ("params,tokens,loss", ("--form", "data-constrained"), "with --fix E=..."),
    ],
)
def test_the_command_line_speaks_of_options(
    isoloss: Command, tmp_path: Path, header: str, words: tuple[str, ...], says: str
) -> None:
    rows = [f"{1e8 * k},{2e9 * k**0.5},{4 - 0.1 * k}" for k in range(1, 13)]
    (tmp_path / "runs.csv").write_text("\n".join([header, *rows]), encoding="utf-8")
    done = isoloss("fit", "runs.csv", *words, "--draws", "0")
    assert says in done.stderr
    assert not says or done.returncode == (2 if words == ("--form", "power") else 1)
    assert not PYTHON.search(done.stderr + done.stdout), done.stderr + done.stdout


def test_notes_speak_of_options_too(isoloss: Command, tmp_path: Path) -> None:
    rows = ["params,N,tokens,batch_size,val_loss,loss"]
    rows += [f"{k}e8,{k}.5e8,{k * k}e9,32,{4 - 0.1 * k},{4.2 - 0.1 * k}" for k in range(1, 9)]
    (tmp_path / "runs.csv").write_text("\n".join(rows), encoding="utf-8")
    told = isoloss("fit", "runs.csv", "--draws", "0").stderr
    assert "choose with --columns n=NAME" in told
    assert "--columns batch_sequences=NAME,n_ctx=CONTEXT" in told
    assert not PYTHON.search(told)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("1e300,1e9,3", "n is 1e300 (column 'params'); it must lie between 1e-30 and 1e+30"),
        ("1e300,1e300,3", "n is 1e300"),
        ("1e9,1e-300,3", "d is 1e-300"),
        ("1e9,1e9,1e-320", "loss is 1e-320"),
    ],
)
def test_absurd_numbers_are_refused_without_a_warning(
    isoloss_process: Command, runs_csv: Path, row: str, says: str
) -> None:
    rows = ["params,tokens,loss", "1e9,2e10,3.1", row]
    runs_csv.write_text("\n".join(rows), encoding="utf-8")
    refused(isoloss_process, "fit", runs_csv, says=says)


@pytest.mark.parametrize("words", READERS[2:])
def test_a_law_of_one_variable_plans_no_budget(
    isoloss: Command, runs_csv: Path, words: tuple[str, ...]
) -> None:
    line = refused(isoloss, *words, "--form", "power", code=2, says="--form")
    for form in get_args(SizeForm):
        assert form in line


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("other.csv", "params,tokens\n1,2\n", ("fit", "runs.csv", "--out")),
        ("other.json", '{"mine": 1}', ("fit", "runs.csv", "--out")),
        ("other.json", "[1, 2]", ("fit", "runs.csv", "--out")),
        ("notes.md", "# Notes\n", ("report", "runs.csv")),
        ("page.html", "<!doctype html><p>mine</p>", ("report", "runs.csv")),
        ("other.csv", "params,tokens\n1,2\n", ("tune", "runs.csv", "--out")),
        ("rates.svg", "mine", ("tune", "runs.csv", "--figure")),
    ],
)
def test_a_file_that_is_no_result_of_ours_is_not_replaced(
    isoloss: Command, runs_csv: Path, name: str, content: str, words: tuple[str, ...]
) -> None:
    other = runs_csv.parent / name
    other.write_text(content, encoding="utf-8")
    refused(isoloss, *words, name, says="name another file, or remove it first")
    assert other.read_text(encoding="utf-8") == content


def test_a_result_of_ours_or_an_empty_file_is_replaced(isoloss: Command, runs_csv: Path) -> None:
    out = runs_csv.parent / "fit.json"
    out.touch()
    for words in (("--draws", "0"), ("--draws", "100", "--conventions"), ("--draws", "0")):
        assert isoloss("fit", runs_csv, *words, "--out", out).returncode == 0
        assert out.stat().st_size


@pytest.mark.parametrize("out", ["/proc/fit.json", "long" * 62 + ".json"])
def test_a_place_that_cannot_be_written_is_refused_by_its_name(
    isoloss: Command, runs_csv: Path, out: str
) -> None:
    if out.startswith("/proc") and not Path("/proc").is_dir():
        pytest.skip("no folder here that nobody may write to")
    runs_csv.write_text("no table", encoding="utf-8")  # and it is not even read
    line = refused(isoloss, "fit", runs_csv, "--out", out, says=f"{out}: cannot be written")
    assert ".tmp" not in line


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("--fix", "E=1,E=2"), 2, "--fix gives E twice"),
        (("--columns", "n=params,n=tokens"), 2, "--columns gives n twice"),
        (("--draws", "1000.5"), 2, "--draws"),
        (("--draws", "-1"), 2, "--draws"),
        (("--draws", "2"), 2, "2 draws are too few for an interval at level 0.9: take 100 draws"),
        (("--draws", "99"), 2, "99 draws are too few"),
        (("--seed", "0.5"), 2, "--seed"),
        (("--draws", "100", "--level", "0.99"), 2, "take 1,000 draws or more, or a level of 0.9"),
        (("--level", "0.95", "--draws", "150"), 2, "take 200 draws"),
        (("--level", "90"), 2, "a share between 0 and 1"),
        (("--level", "nan"), 2, "a share between 0 and 1"),
        (("--delta", "-1"), 2, "--delta"),
        (("--asymmetry", "0"), 2, "--asymmetry"),
        (("--all", "--flops", "-1"), 2, "--flops: -1 is not positive"),
        (("--all", "--flops", "1e999"), 2, "--flops: 1e999 is not positive and finite"),
        (("--loss-unit", "foo"), 2, '"foo" for --loss-unit. Choose from: "nats"'),
        (("--n-convention", "foo"), 2, '"foo" for --n-convention. Choose from: "non_embedding"'),
        (("--critical-batch", "3"), 2, "b_star=2e8"),
        (("--fix", "E=5"), 3, "or what was held does not suit the runs: E = 5"),
    ],
)
def test_nonsense_for_an_option_is_one_line(
    isoloss: Command, runs_csv: Path, words: tuple[str, ...], code: int, says: str
) -> None:
    refused(isoloss, "fit", runs_csv, *words, code=code, says=says)


@pytest.mark.parametrize(
    "words",
    [
        ("--tokens", "0"), ("--tokens", "-5"), ("--tokens", "1e300"), ("--context", "0.5"),
        ("--context", "0"), ("--context", "1e300"), ("--bytes-per-value", "0"),
        ("--bytes-per-value", "1.5"),
    ],
)  # fmt: skip
def test_nonsense_for_count_is_one_line(
    isoloss: Command, tmp_path: Path, words: tuple[str, ...]
) -> None:
    config = '{"n_layer": 2, "d_model": 16, "n_heads": 2, "vocab": 256, "n_ctx": 64}'
    (tmp_path / "config.json").write_text(config, encoding="utf-8")
    assert isoloss("count", "config.json").returncode == 0
    done = isoloss("count", "config.json", *words)
    assert done.returncode in (1, 2)
    assert len(done.stderr.splitlines()) == 1
    huge = config.replace("16", "16000000000")
    (tmp_path / "config.json").write_text(huge, encoding="utf-8")
    refused(isoloss, "count", "config.json", says="d_model is 1.6e+10: it must be at most 1e+09")


def test_a_level_is_printed_with_all_its_digits(isoloss: Command, runs_csv: Path) -> None:
    done = isoloss("fit", runs_csv, "--draws", "400", "--level", "0.975")
    assert "97.5% interval" in done.stdout
    done = isoloss("fit", runs_csv, "--all", "--draws", "400", "--level", "0.975")
    assert "97.5% intervals" in done.stdout


@pytest.mark.parametrize(
    "words",
    [
        ("backtest", "runs.csv", "--draws", "2"),
        ("backtest", "runs.csv", "--level", "1"),
        ("backtest", "runs.csv", "--rolling", "--cutoff", "1e19"),
        ("backtest", "runs.csv", "--cutoff", "-1"),
        ("tune", "runs.csv", "--draws", "2"),
        ("tune", "runs.csv", "--level", "0"),
        ("compare", "runs.csv", "runs.csv", "--level", "3"),
        ("compare", "runs.csv", "runs.csv", "--at", "-1"),
        ("next", "runs.csv", "--target", "-1", "--spend", "1e20"),
        ("next", "runs.csv", "--target", "1e24", "--spend", "0"),
        ("next", "runs.csv", "--target", "1e24", "--spend", "1e22", "--ratio", "1"),
        ("next", "runs.csv", "--target", "1e24", "--spend", "1e22", "--count", "0"),
        ("next", "runs.csv", "--target", "1e24", "--spend", "1e22", "--draws", "2"),
        ("track", "run.jsonl", "--law", "fit.json", "--level", "90"),
        ("report", "runs.csv", "out.html", "--target-flops", "0"),
        ("plan", "--flops", "-1"),
        ("plan", "--gpu-hours", "0"),
        ("train", "run.toml", "--threads", "0"),
        ("sweep", "sweep.toml", "--workers", "0"),
        ("demo", "--workers", "0"),
        ("corpus", "prepare", "text.txt", "tokens", "--val-fraction", "1"),
    ],
)
def test_an_option_out_of_its_range_is_wrong_usage(
    isoloss: Command, runs_csv: Path, words: tuple[str, ...]
) -> None:
    """Whatever the data hold: most of these files are not even there."""
    refused(isoloss, *words, code=2, says="")
    assert [path.name for path in runs_csv.parent.iterdir()] == ["runs.csv"]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("--gpu-hours", "5"), 2, "--gpu-hours needs --hardware"),
        (("--dollars", "5", "--hardware", "H100"), 2, "--dollars needs --price"),
        (("--flops", "1e21", "--count", "8"), 2, "--count needs --hardware"),
        (
            ("--flops", "1e21", "--pf-days", "3"),
            2,
            "--flops comes to 1.00e+21 FLOPs and --pf-days to",
        ),
        (("--flops", "1e21", "--max-params", "7"), 2, "--max-params is 7, which trains nothing"),
        (("--loss", "2.2", "--max-params", "1e6"), 1, "or fewer: raise --max-params"),
        (("--loss", "2.2", "--max-tokens", "1e6"), 1, "on 1.00M tokens: raise --max-tokens"),
        (("--loss", "2.1", "--flops", "1e17"), 1, "1e+17 that --flops allows"),
        (("--loss", "30"), 2, "--loss is 30, above guessing"),
    ],
)
def test_a_plan_speaks_of_options(
    isoloss: Command, words: tuple[str, ...], code: int, says: str
) -> None:
    line = refused(isoloss, "plan", *words, "--law", "hoffmann", code=code, says=says)
    assert not re.search(r"[a-z]_[a-z]|\w=", line)


def test_a_comparison_speaks_of_options(isoloss: Command, runs_csv: Path) -> None:
    other = runs_csv.with_name("other.csv")
    other.write_text(runs_csv.read_text().replace("params", "params_total"), encoding="utf-8")
    refused(isoloss, "compare", runs_csv, other, says="count them alike with --n, or")


@pytest.mark.parametrize("flops", ["1e3", "1e40"])
def test_a_report_on_a_target_that_no_plan_is_made_for(
    isoloss: Command, runs_csv: Path, flops: str
) -> None:
    pytest.importorskip("matplotlib")
    words = ("report", runs_csv, "page.html", "--target-flops", flops)
    refused(isoloss, *words, says="give the FLOPs of a run, 1e+09 to 1e+28")
    assert not runs_csv.with_name("page.html").exists()
