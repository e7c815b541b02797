"""Files, frames and folders read as tables; what is refused and how it is said."""

from __future__ import annotations

import gzip
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import polars
import pytest

from isoloss.counting import Shape, count_all, flops_all
from isoloss.errors import InputError
from isoloss.runs import RecordWriter, Runs, RunSpec, read_runs, write_runs

ROWS: list[dict[str, Any]] = [
    {"params": "1.5M", "tokens": "3e8", "val_loss": 3.5, "run": "a", "lr": 0.01},
    {"params": 3_000_000, "tokens": 600_000_000, "val_loss": 3.25, "run": "b", "lr": 0.02},
    {"params": 6e6, "tokens": "1.2B", "val_loss": 3.0, "run": "c", "lr": None},
]
CSV = "params,tokens,val_loss,run,lr\n" + "".join(
    ",".join("" if v is None else str(v) for v in row.values()) + "\n" for row in ROWS
)


def put(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    data = text.encode() if isinstance(text, str) else text
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def check(runs: Runs) -> None:
    assert runs.n.tolist() == [1.5e6, 3e6, 6e6]
    assert runs.d.tolist() == [3e8, 6e8, 1.2e9]
    assert runs.loss.tolist() == [3.5, 3.25, 3.0]
    assert runs.run.tolist() == ["a", "b", "c"]
    assert runs.lr is not None
    assert runs.lr[:2].tolist() == [0.01, 0.02]
    assert np.isnan(runs.lr[2])
    assert runs.notes == ()


FORMS = {
    "runs.csv": CSV,
    "runs.CSV": CSV,
    "runs.csv.gz": CSV,
    "runs.tsv": CSV.replace(",", "\t"),
    "runs.tsv.gz": CSV.replace(",", "\t"),
    "semicolons.csv": CSV.replace(",", ";"),
    "bom.csv": "\ufeff" + CSV,
    "windows.csv": CSV.replace("\n", "\r\n") + "\r\n",
    "runs.jsonl": "".join(json.dumps(row) + "\n" for row in ROWS),
    "runs.jsonl.gz": "\n".join(json.dumps(row) for row in ROWS),
    "runs.json": json.dumps(ROWS),
    "columns.json": json.dumps({key: [row[key] for row in ROWS] for key in ROWS[0]}),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_same_table(tmp_path: Path, name: str) -> None:
    runs = read_runs(put(tmp_path, name, FORMS[name]))
    check(runs)
    assert runs.source == name


def test_the_source_is_no_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    put(tmp_path / "sub", "runs.csv", CSV)
    monkeypatch.chdir(tmp_path)
    assert read_runs("sub/runs.csv").source == "sub/runs.csv"
    assert read_runs(tmp_path / "sub" / "runs.csv").source == "runs.csv"


def numeric() -> dict[str, list[Any]]:
    return {
        "params": [1.5e6, 3e6, 6e6],
        "tokens": [300_000_000, 600_000_000, 1_200_000_000],
        "val_loss": [3.5, 3.25, 3.0],
        "run": ["a", "b", "c"],
        "lr": [0.01, 0.02, None],
    }


def test_parquet(tmp_path: Path) -> None:
    polars.DataFrame(numeric()).write_parquet(tmp_path / "runs.parquet")
    check(read_runs(tmp_path / "runs.parquet"))
    with pytest.raises(InputError, match="not a readable Parquet file"):
        read_runs(put(tmp_path, "bad.parquet", b"nonsense"))


def test_parquet_without_polars_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(InputError, match=r"pip install 'isoloss\[tables\]'"):
        read_runs(put(tmp_path, "runs.parquet", b"x"))


@pytest.mark.parametrize(
    "frame",
    [
        polars.DataFrame(numeric()),
        polars.DataFrame(numeric()).lazy(),
        pandas.DataFrame(numeric()),
        pandas.DataFrame(numeric()).convert_dtypes(),
        {key: np.array(values) for key, values in numeric().items()},
    ],
    ids=["polars", "lazy", "pandas", "nullable", "dict"],
)
def test_any_frame(frame: object) -> None:
    check(Runs.from_frame(frame))


def test_arrow_tables() -> None:
    pytest.importorskip("pyarrow")
    check(Runs.from_frame(polars.DataFrame(numeric()).to_arrow()))


def test_frames_take_the_options_of_read_runs() -> None:
    frame = pandas.DataFrame(numeric()).rename(columns={"params": "size", "val_loss": "metric"})
    check(Runs.from_frame(frame, {"n": "size", "loss": "metric"}))
    frame.loc[1, "metric"] = np.nan
    with pytest.raises(InputError, match=r"mine, row 2: loss is missing \(column 'metric'\)"):
        Runs.from_frame(frame, {"n": "size", "loss": "metric"}, source="mine")
    runs = Runs.from_frame(frame, {"n": "size", "loss": "metric"}, drop_invalid=True)
    assert runs.run.tolist() == ["a", "c"]
    with pytest.raises(InputError, match="list is no dataframe"):
        Runs.from_frame([1, 2])
    with pytest.raises(InputError, match="differ in length"):
        Runs.from_frame({"N": [1.0], "D": [1.0, 2.0]})


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("3.25", "", "row 2 (line 3): loss is missing (column 'val_loss')"),
        ("3.25", "nan", "row 2 (line 3): loss is missing (column 'val_loss')"),
        ("3.25", "inf", "row 2 (line 3): loss is inf (column 'val_loss'); it must be positive"),
        ("3.25", "0.0", "row 2 (line 3): loss is 0.0"),
        ("3.25", "-1", "row 2 (line 3): loss is -1"),
        ("3.25", "oops", "row 2 (line 3): loss is 'oops' (column 'val_loss'), which is not a numb"),
        ("3.25", '"3,25"', "loss is '3,25' (column 'val_loss'), which is not a number"),
        ("1.5M", "1.5X", "row 1 (line 2): n is '1.5X' (column 'params'), which is not a number"),
        ("1.2B", "-1.2B", "row 3 (line 4): d is -1.2B (column 'tokens'); it must be positive"),
    ],
)
def test_unusable_rows_are_refused_or_dropped_and_counted(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    path = put(tmp_path, "runs.csv", CSV.replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        read_runs(path)
    message = str(caught.value)
    assert message.startswith("runs.csv, ")
    assert words in message
    assert "1 of 3 rows are unusable" in message
    assert "drop_invalid=True" in message
    runs = read_runs(path, drop_invalid=True)
    assert len(runs) == 2
    assert any(note.startswith("1 of 3 rows are dropped as unusable") for note in runs.notes)


def test_blank_lines_and_quoted_newlines_keep_line_numbers_true(tmp_path: Path) -> None:
    text = 'N,D,loss,note\n\n1,2,3,"two\nlines"\n\n4,5,,x\n'
    with pytest.raises(InputError, match=r"row 2 \(line 6\): loss is missing"):
        read_runs(put(tmp_path, "runs.csv", text))


def test_nothing_usable_is_an_error_even_when_dropping(tmp_path: Path) -> None:
    path = put(tmp_path, "runs.csv", "N,D,loss\n0,1,1\n1,0,1\n")
    with pytest.raises(InputError, match="no row has a usable n, d and loss"):
        read_runs(path, drop_invalid=True)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.csv", "N,D,accuracy\n1,2,3\n", "no column for the loss; columns found: 'N', 'D', 'acc"),
        ("a.csv", "N,D,loss\n1,2,\n", "no value in any row of 'loss': fill it in, or name it"),
        ("a.csv", "N,loss\n1,3\n", "no column for d, the training tokens"),
        ("a.csv", "D,loss\n1,3\n", "no column for n, the parameters"),
        ("a.csv", "", "is empty"),
        ("a.csv", "N,D,loss\n", "holds no rows"),
        ("a.csv", "N,D,loss\n1,2,3,4\n", "a.csv, line 2: 4 values under 3 columns"),
        ("a.csv", "N,D,loss,loss\n1,2,3,4\n", "column 'loss' is there twice"),
        ("a.csv", b"N,D,loss\n\xff,2,3\n", "not UTF-8 text (byte 9)"),
        ("a.csv", "N,D,loss,n_convention\n1,2,3,total\n1,2,3,active\n", "holds several values"),
        ("a.csv", "N,D,loss,run_state\n1,2,3,crashed\n", "every run is crashed"),
        ("a.jsonl", '{"N": 1}\n{"N": \n', "a.jsonl, line 2: not JSON"),
        ("a.jsonl", "[1]\n", "a.jsonl, line 1: not an object"),
        ("a.json", "{", "not JSON"),
        ("a.json", "[" * 100_000, "not JSON"),
        ("a.jsonl", "[" * 100_000, "a.jsonl, line 1: not JSON"),
        ("a.json", f'{{"N": [1{"0" * 400}], "D": [2], "loss": [3]}}', "positive and finite"),
        ("a.json", '{"N": 1}', "give a list of runs"),
        ("a.json", '{"N": [1], "D": []}', "differ in length"),
        ("a.pkl", "x", "a pickle can run any code"),
        ("a.pickle.gz", "x", "a pickle can run any code"),
        ("a.xlsx", "x", "not a form of table that is read; give .csv"),
        ("a", "x", "not a form of table that is read"),
    ],
)
def test_wrong_files_give_one_clear_line(
    tmp_path: Path, name: str, text: str | bytes, words: str
) -> None:
    with pytest.raises(InputError) as caught:
        read_runs(put(tmp_path, name, text))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_missing_loss_says_how_to_name_it(tmp_path: Path) -> None:
    path = put(tmp_path, "a.csv", "N,D,accuracy\n1,2,3\n")
    with pytest.raises(InputError) as caught:
        read_runs(path)
    assert 'columns={"loss": "NAME"}' in str(caught.value)
    assert "--columns loss=NAME" in str(caught.value)
    assert read_runs(path, columns={"loss": "accuracy"}).loss.tolist() == [3]


def test_missing_files_and_broken_gzip(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        read_runs(tmp_path / "absent.csv")
    (tmp_path / "a.csv.gz").write_bytes(b"no gzip")
    with pytest.raises(InputError, match="cannot be read"):
        read_runs(tmp_path / "a.csv.gz")
    spoilt = bytearray(gzip.compress(CSV.encode()))
    spoilt[10] |= 0b110  # a kind of deflate block that does not exist
    (tmp_path / "c.csv.gz").write_bytes(spoilt)
    with pytest.raises(InputError, match="cannot be read"):
        read_runs(tmp_path / "c.csv.gz")
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(CSV.encode())[:-20])
    with pytest.raises(InputError, match="cannot be read"):
        read_runs(tmp_path / "b.csv.gz")


def test_columns_that_are_not_there(tmp_path: Path) -> None:
    path = put(tmp_path, "runs.csv", CSV)
    with pytest.raises(InputError, match=r"no column 'metric' .named for loss.; columns found"):
        read_runs(path, columns={"loss": "metric"})
    with pytest.raises(InputError, match=r"names 'los', .* the nearest is 'loss'"):
        read_runs(path, columns={"los": "val_loss"})


def test_a_role_can_be_left_out(tmp_path: Path) -> None:
    path = put(tmp_path, "runs.csv", "N,D,C,loss\n10,20,9,3\n")
    assert read_runs(path).c.tolist() == [9]
    assert read_runs(path, columns={"c": None}).c.tolist() == [1200]


def test_failed_runs_are_left_out_and_counted(tmp_path: Path) -> None:
    text = "N,D,loss,run_state\n10,20,3,finished\n10,30,,crashed\n10,40,2,Failed\n10,50,1,\n"
    runs = read_runs(put(tmp_path, "runs.csv", text))
    assert runs.d.tolist() == [20, 50]
    assert runs.notes[0] == "2 of 4 rows are left out: run_state is crashed or failed"


def test_counts_and_costs_by_name(tmp_path: Path) -> None:
    text = (
        "N,N_no_emb,D,C,C_6ND,flops_exact,loss\n"
        "10,6,20,1400,1200,1500,3\n20,9,50,7000,6000,8000,2\n"
    )
    path = put(tmp_path, "runs.csv", text)
    runs = read_runs(path)
    assert (runs.n_convention, runs.c_convention) == ("unknown", "reported")
    assert read_runs(path, n_convention="total").n_convention == "total"
    other = read_runs(path, n="non_embedding", c="exact")
    assert other.n.tolist() == [6, 9]
    assert other.c.tolist() == [1500, 8000]
    assert other.n_convention == "non_embedding"
    assert other.c_convention == "exact"
    assert runs.counted("non_embedding", flops="exact").hash == other.hash
    assert read_runs(path, c="6nd").c.tolist() == [1200, 6000]
    with pytest.raises(InputError, match="n is not counted as 'active' there"):
        read_runs(path, n="active")
    with pytest.raises(InputError, match="c is not counted as 'kaplan' there"):
        read_runs(path, c="kaplan")


def test_a_plain_count_equal_to_a_tagged_one_takes_its_tag(tmp_path: Path) -> None:
    text = "N,N_nonembed,N_total,D,loss\n10,6,10,20,3\n20,9,20,50,2\n"
    assert read_runs(put(tmp_path, "runs.csv", text)).n_convention == "total"


def test_compute_with_gaps_is_not_used(tmp_path: Path) -> None:
    runs = read_runs(put(tmp_path, "runs.csv", "N,D,C,loss\n10,20,9,3\n10,30,,2\n"))
    assert runs.c.tolist() == [1200, 1800]
    assert runs.c_convention == "6nd"
    assert any("the compute column has gaps" in note for note in runs.notes)


def test_missing_sizes_and_tokens_are_derived(tmp_path: Path) -> None:
    runs = read_runs(put(tmp_path, "a.csv", "C,D,loss\n1200,20,3\n"))
    assert runs.n.tolist() == [10]
    runs = read_runs(put(tmp_path, "b.csv", "N,steps,tokens_per_step,loss\n10,5,4,3\n"))
    assert runs.d.tolist() == [20]
    runs = read_runs(put(tmp_path, "c.csv", "N,epochs,tokens_per_epoch,loss\n10,4,5,3\n"))
    assert runs.d.tolist() == [20]
    assert runs.unique_tokens is not None
    assert runs.unique_tokens.tolist() == [5]


@pytest.mark.parametrize(
    ("text", "batch", "word"),
    [
        ("N,D,loss,bs,steps\n1,20480,3,512,40\n1,40960,2,512,80\n", [512, 512], "counts tokens"),
        ("N,D,loss,bs,steps\n1,20480,3,8,40\n1,81920,2,16,80\n", [512, 1024], "of 64 tokens"),
        (
            "N,D,loss,bs,steps,seq_len\n1,20480,3,8,40,64\n1,81920,2,8,80,128\n",
            [512, 1024],
            "sequen",
        ),
        ("N,D,loss,bs,seq_len\n1,20480,3,8,64\n1,40960,2,128,64\n", [512, 8192], "sequences"),
        ("N,D,loss,bs,seq_len\n1,20480,3,128,64\n1,40960,2,256,64\n", None, "left out"),
        ("N,D,loss,bs\n1,20480,3,8\n1,40960,2,8\n", None, "left out"),
        ("N,D,loss,bs,steps\n1,20480,3,8,40\n1,40960,2,8,40\n", None, "left out"),
        ("N,D,loss,bs,steps\n1,20480,3,128,40\n1,40960,2,256,40\n", None, "left out"),
        ("N,D,loss,batch_size_seqs,n_ctx\n1,20480,3,8,64\n", [512], "sequences"),
        ("N,D,loss,batch_size_seqs\n1,20480,3,8\n", None, "left out"),
    ],
)
def test_batches_are_tokens_or_sequences_or_left_out(
    tmp_path: Path, text: str, batch: list[float] | None, word: str
) -> None:
    runs = read_runs(put(tmp_path, "runs.csv", text))
    assert (None if runs.batch is None else runs.batch.tolist()) == batch
    assert any(word in note for note in runs.notes)


def test_a_batch_can_be_named(tmp_path: Path) -> None:
    path = put(tmp_path, "runs.csv", "N,D,loss,b,ctx\n1,20480,3,8,64\n")
    tokens = read_runs(path, columns={"batch": "b"}).batch
    assert tokens is not None
    assert tokens.tolist() == [8]
    sequences = read_runs(path, columns={"batch_sequences": "b", "n_ctx": "ctx"}).batch
    assert sequences is not None
    assert sequences.tolist() == [512]


def test_loss_units_can_be_said(tmp_path: Path) -> None:
    path = put(tmp_path, "runs.csv", "N,D,metric\n1,2,3\n")
    named = {"loss": "metric"}
    assert read_runs(path, columns=named, loss_unit="bits").loss[0] == pytest.approx(2.0794415)
    assert read_runs(path, columns=named, loss_unit="perplexity").loss[0] == pytest.approx(
        1.0986123
    )
    assert read_runs(path, columns=named, loss_unit="bits per byte").loss_unit == "bits per byte"
    with pytest.raises(InputError, match="is 'bpc'; use one of nats, bits"):
        read_runs(path, columns=named, loss_unit="bpc")


def test_a_95_percent_interval_gives_sd(tmp_path: Path) -> None:
    text = "N,D,loss,loss_sequences_lower_95,loss_sequences_upper_95\n1,2,3,2.9,3.1\n"
    sd = read_runs(put(tmp_path, "runs.csv", text)).sd
    assert sd is not None
    assert sd[0] == pytest.approx(0.2 / 3.92, rel=1e-4)


def test_an_optional_column_of_words_is_left_out(tmp_path: Path) -> None:
    runs = read_runs(put(tmp_path, "runs.csv", "N,D,loss,lr\n1e6,2e7,3,cosine\n"))
    assert runs.lr is None
    assert runs.notes == ("column 'lr' is left out: 'cosine' is not a number",)


def test_rows_of_one_run_are_noted(tmp_path: Path) -> None:
    runs = read_runs(put(tmp_path, "runs.csv", "N,D,loss,run\n1M,2M,3,a\n1M,3M,2,a\n1M,4M,2,\n"))
    assert runs.run.tolist() == ["a", "a", "row 3"]
    assert runs.notes == ("3 rows hold 2 run names: rows of one name are resampled together",)


# Folders of records

SPEC = RunSpec(
    Shape(n_layer=2, d_model=16, n_heads=2, vocab=256, n_ctx=64),
    tokens=40_960,
    batch=512,
    lr=0.01,
    group="ladder",
)


def record(folder: Path, spec: RunSpec, status: str | None = "finished", loss: float = 2.5) -> Path:
    path = folder / f"{spec.run_id}.jsonl"
    with RecordWriter(path) as writer:
        writer.header(spec, {"name": "text", "hash": "1", "tokens": 30_000}, {}, {})
        writer.point(0, 0, 5.5)
        writer.point(8, 4096, 4.0, se=0.02)
        writer.point(40, 20_480, 3.0, se=0.02)
        if status is not None:
            steps, tokens = spec.steps, spec.tokens_seen
            writer.end(status, step=steps, tokens=tokens, loss=loss, se=0.01)  # type: ignore[arg-type]
    return path


def test_a_folder_of_records(tmp_path: Path) -> None:
    wide = replace(SPEC, shape=replace(SPEC.shape, d_model=32, d_attn=32, d_ff=128), seed=5)
    record(tmp_path, SPEC)
    record(tmp_path, wide, loss=2.25)
    record(tmp_path, replace(SPEC, seed=1), "diverged", loss=float("nan"))
    record(tmp_path, replace(SPEC, seed=2), None)
    record(tmp_path, replace(SPEC, seed=3), "stopped")
    (tmp_path / "torn.jsonl").write_bytes(b'{"kind": "spe')
    (tmp_path / "notes.jsonl").write_text('{"hello": 1}\n')
    runs = read_runs(tmp_path)
    assert runs.run.tolist() == [SPEC.run_id, wide.run_id]
    assert runs.n.tolist() == [count_all(s.shape)["non_embedding_plus_head"] for s in (SPEC, wide)]
    assert runs.d.tolist() == [40_960, 40_960]
    assert runs.c.tolist() == [flops_all(s.shape)["exact"] * 40_960 for s in (SPEC, wide)]
    assert (runs.n_convention, runs.c_convention) == ("non_embedding_plus_head", "exact")
    assert runs.loss.tolist() == [2.5, 2.25]
    assert runs.group.tolist() == ["ladder", "ladder"]
    for name, values in (
        ("batch", [512, 512]),
        ("steps", [80, 80]),
        ("lr", [0.01, 0.01]),
        ("seed", [0, 5]),
        ("unique_tokens", [30_000, 30_000]),
    ):
        assert getattr(runs, name).tolist() == values, name
    assert runs.sd is None  # all runs share the held-out documents: their error is no noise
    assert set(runs.counts) == set(count_all(SPEC.shape))
    assert set(runs.costs) == set(flops_all(SPEC.shape))
    assert runs.curves is not None
    assert runs.curves.d.tolist() == [4096, 20_480] * 2
    assert runs.curves.loss.tolist() == [4.0, 3.0] * 2
    assert runs.curves.steps is not None
    assert runs.curves.steps.tolist() == [8, 40] * 2
    notes = " | ".join(runs.notes)
    assert "notes.jsonl is no run record and is left out" in notes
    assert "1 of 6 runs diverged and are left out" in notes
    assert "3 of 6 runs are unfinished and are left out" in notes
    total = runs.counted("total", flops="6nd")
    assert total.n.tolist() == [count_all(s.shape)["total"] for s in (SPEC, wide)]
    assert total.curves is not None
    assert total.curves.c_convention == "6nd"
    assert read_runs(tmp_path, n="total", c="6nd").hash == total.hash


def test_a_record_whose_spec_is_not_known_is_read_without_its_spec(tmp_path: Path) -> None:
    newer = record(tmp_path, replace(SPEC, seed=7))
    lines = newer.read_text(encoding="utf-8").splitlines(keepends=True)
    head = json.loads(lines[0])
    head["spec"]["curvature"] = 0.5
    newer.write_text(json.dumps(head) + "\n" + "".join(lines[1:]), encoding="utf-8")
    record(tmp_path, SPEC)
    runs = read_runs(tmp_path)
    assert len(runs) == 2
    assert set(runs.specs) == {SPEC.run_id}
    (note,) = runs.notes
    assert newer.stem in note
    assert "'curvature'" in note


def test_folders_below_and_single_records(tmp_path: Path) -> None:
    (tmp_path / "budget").mkdir()
    path = record(tmp_path / "budget", SPEC)
    assert read_runs(tmp_path).hash == read_runs(path).hash
    assert read_runs(path).curves is not None


@pytest.mark.parametrize("status", [None, "diverged", "stopped"])
def test_a_folder_without_finished_runs(tmp_path: Path, status: str | None) -> None:
    record(tmp_path, SPEC, status)
    with pytest.raises(InputError, match="none of its 1 runs is finished"):
        read_runs(tmp_path)


def test_wrong_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no run records"):
        read_runs(tmp_path)
    path = record(tmp_path, SPEC)
    with pytest.raises(InputError, match="not counted as 'kaplan' in records"):
        read_runs(tmp_path, n="kaplan")
    with pytest.raises(InputError, match="are for tables"):
        read_runs(tmp_path, columns={"loss": "x"})
    path.write_bytes(path.read_bytes().replace(b'{"kind": "point"', b'{"kind" "point"', 1))
    with pytest.raises(InputError, match=f"{path.name}, line 2"):
        read_runs(tmp_path)


def test_a_folder_named_like_a_record(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").mkdir()
    with pytest.raises(InputError, match="holds no run records"):
        read_runs(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("N,D,loss\n7,3e8,3\n13,6e8,2\n", "n is at most 13 parameters: write millions as 7M"),
        ("N,D,loss\n7e6,0.3,3\n13e6,0.6,2\n", "d is at most 0.6 tokens"),
        ("N,D,C,loss\n1e6,1e8,7e-6,3\n", "c is 1.17e-20 times 6 n d: give c in FLOPs"),
    ],
)
def test_another_unit_than_the_plain_one_is_noted(tmp_path: Path, text: str, words: str) -> None:
    assert any(words in note for note in read_runs(put(tmp_path, "a.csv", text)).notes)


def test_two_corpora_are_noted(tmp_path: Path) -> None:
    record(tmp_path, SPEC)
    other = record(tmp_path, replace(SPEC, seed=1))
    other.write_bytes(other.read_bytes().replace(b'"name": "text"', b'"name": "news"'))
    assert any("2 corpora" in note for note in read_runs(tmp_path).notes)


# Writing


def test_a_written_table_is_read_back(tmp_path: Path) -> None:
    record(tmp_path, SPEC)
    record(tmp_path, replace(SPEC, seed=4, lr=0.1 + 0.2), loss=1 / 3)
    runs = read_runs(tmp_path)
    write_runs(runs, tmp_path / "runs.csv")
    again = read_runs(tmp_path / "runs.csv")
    assert again.hash == runs.hash
    for name in ("run", "group", "batch", "steps", "lr", "seed", "unique_tokens"):
        assert getattr(again, name).tolist() == getattr(runs, name).tolist(), name
    for name in ("n_convention", "c_convention", "loss_unit"):
        assert getattr(again, name) == getattr(runs, name), name
    for name in ("counts", "costs"):
        old, new = getattr(runs, name), getattr(again, name)
        assert {k: v.tolist() for k, v in new.items()} == {k: v.tolist() for k, v in old.items()}
    assert again.notes == ()
    frame = runs.to_frame()
    assert Runs.from_frame(frame).hash == runs.hash


def test_writing_is_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    runs = Runs(n=np.array([1.0]), d=np.array([2.0]), loss=np.array([3.0]))
    path = tmp_path / "runs.csv"
    path.write_text("old")

    def refuse(*args: object) -> None:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        with pytest.raises(InputError, match="Read-only"):
            write_runs(runs, path)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["runs.csv"]
    with pytest.raises(InputError, match=r"ends in \.csv"):
        write_runs(runs, tmp_path / "runs.parquet")


# The public tables


@pytest.mark.parametrize(
    ("name", "rows", "convention"),
    [
        ("epoch_chinchilla.csv", 245, "unknown"),
        ("chinchilla_isoflop.csv", 124, "unknown"),
        ("kyotakano_chinchilla.csv", 234, "unknown"),
        ("marin_comma.csv", 85, "total"),
        ("misfitting_final.csv", 261, "total"),
        ("misfitting_curves.csv.gz", 4852, "total"),
        ("gadre.csv", 104, "total"),
        ("porian_refinedweb_isoflop.csv.gz", 1164, "unknown"),
        ("revisit_lang.csv", 712, "unknown"),
    ],
)
def test_the_public_tables_are_read(
    shared_data: Path, name: str, rows: int, convention: str
) -> None:
    runs = read_runs(shared_data / name)
    assert len(runs) == rows
    assert runs.n_convention == convention


def test_public_tables_with_gaps_and_other_units(shared_data: Path) -> None:
    with pytest.raises(InputError, match=r"datablations\.csv, row"):
        read_runs(shared_data / "datablations.csv")
    runs = read_runs(shared_data / "datablations.csv", drop_invalid=True)
    assert len(runs) == 325
    assert any("22 of 347 rows are dropped" in note for note in runs.notes)
    assert read_runs(shared_data / "nanochat_isoflop_optima.csv").loss_unit == "bits per byte"
