"""Squared gradient norms from records and tables, and the noise scale along them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_runs_record import CORPUS, SPEC  # the spec of the record's own tests

from isoloss.errors import InputError, Status
from isoloss.noise import noise_scale
from isoloss.runs import NoiseSeries, RecordWriter, noise_along, pack_records, read_noise

TRUTH = 512.0  # in units of `small`


def norms(steps: int, *, seed: int = 0, small: float = 32, big: float = 256) -> np.ndarray:
    """(steps, 2) squared norms of simulated gradients of 24 numbers, |G| = 1."""
    rng = np.random.default_rng(seed)
    parts = rng.normal(0, math.sqrt(TRUTH / 24 / small), (steps, int(big // small), 24))
    parts[:, :, 0] += 1.0
    return np.stack([(parts**2).sum(2).mean(1), (parts.mean(1) ** 2).sum(1)], axis=1)


def write_record(path: Path, steps: int, *, seed: int = 0, broken: int = 0) -> Path:
    with RecordWriter(path) as writer:
        writer.header(SPEC, CORPUS, {}, {})
        for step, (sq_small, sq_big) in enumerate(norms(steps, seed=seed).tolist(), start=1):
            if step <= broken:
                sq_big = math.nan
            writer.noise(step, 256 * step, small=32, big=256, sq_small=sq_small, sq_big=sq_big)
    return path


def write_table(path: Path, columns: dict[str, Any]) -> Path:
    rows = zip(*columns.values(), strict=True)
    lines = [",".join(columns), *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def columns(steps: int = 64) -> dict[str, Any]:
    found = norms(steps)
    return {
        "small": [32] * steps,
        "big": [256] * steps,
        "sq_small": found[:, 0].tolist(),
        "sq_big": found[:, 1].tolist(),
    }


def same(one: NoiseSeries, other: NoiseSeries) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("small", "big", "sq_small", "sq_big")
    )


def test_a_record_and_a_table_of_the_same_norms_are_the_same(tmp_path: Path) -> None:
    ((record,), notes) = read_noise(write_record(tmp_path / "run.jsonl", 64))
    assert notes == ()
    assert record.run == SPEC.run_id
    assert (record.unit, record.tokens_per_sequence) == ("tokens", SPEC.shape.n_ctx)
    assert record.tokens.tolist() == [256 * step for step in range(1, 65)]
    ((table,), _) = read_noise(write_table(tmp_path / "norms.csv", columns()))
    assert same(record, table)
    assert (table.unit, table.run) == ("", "norms.csv")
    assert table.step.tolist() == list(range(1, 65))
    assert math.isnan(table.tokens[0])
    rows = [dict(zip(columns(), row, strict=True)) for row in zip(*columns().values(), strict=True)]
    lines = tmp_path / "norms.jsonl"
    lines.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    ((from_lines,), _) = read_noise(lines)
    assert same(from_lines, table)
    (whole,) = noise_along(record)
    assert whole.scale.low < TRUTH < whole.scale.high
    expected = noise_scale(record.sq_small, record.sq_big, small=32, big=256)
    assert whole.scale == expected


def test_a_folder_and_a_zip_of_records_hold_their_runs(tmp_path: Path) -> None:
    folder = tmp_path / "records"
    folder.mkdir()
    write_record(folder / "a.jsonl", 40)
    write_record(folder / "b.jsonl", 20, broken=20)
    write_record(folder / "c.jsonl", 0)
    (found, notes) = read_noise(folder)
    assert len(found) == 1
    assert any("20 measurements without finite" in note for note in notes)
    assert "1 of 3 runs have no noise lines" in notes
    packed = pack_records(folder, tmp_path / "all.results.zip")
    assert same(read_noise(packed)[0][0], found[0])


def test_windows_share_out_the_measurements(tmp_path: Path) -> None:
    ((series,), _) = read_noise(write_record(tmp_path / "run.jsonl", 100))
    windows = noise_along(series, 4, level=0.8)
    assert [w.scale.steps for w in windows] == [25] * 4
    assert [w.steps for w in windows] == [(1, 25), (26, 50), (51, 75), (76, 100)]
    assert windows[0].tokens == (256, 25 * 256)
    assert windows[0].scale.level == 0.8
    assert len(noise_along(series, 50)) == 6  # of 16 measurements at least
    ((short,), _) = read_noise(write_record(tmp_path / "short.jsonl", 5))
    (one,) = noise_along(short, 4)
    assert one.scale.high == math.inf
    assert {Status.NOT_MEASURABLE, Status.FEW_STEPS} <= set(one.scale.status)
    with pytest.raises(InputError, match="at least one"):
        noise_along(series, 0)


def test_columns_of_other_names_other_orders_and_several_runs(tmp_path: Path) -> None:
    given = columns(40)
    mine = {"b": given["small"], "B": given["big"], "Sq_Small": given["sq_small"]}
    mine |= {"norm": given["sq_big"], "step": list(range(40, 0, -1))}
    mine |= {"tokens": [256 * step for step in mine["step"]], "run": ["x", "y"] * 20}
    path = write_table(tmp_path / "mine.csv", mine)
    names = {"small": "b", "big": "B", "sq_big": "norm"}
    (found, _) = read_noise(path, columns=names)
    assert [one.run for one in found] == ["x", "y"]
    assert found[1].step.tolist() == list(range(1, 41, 2))
    assert found[1].tokens.tolist() == [256 * step for step in range(1, 41, 2)]
    assert found[1].sq_big[0] == given["sq_big"][-1]
    with pytest.raises(InputError, match=r"mine.csv: no column small, big, sq_big; .*--columns"):
        read_noise(path)
    with pytest.raises(InputError, match="no column nothing"):
        read_noise(path, columns={**names, "step": "nothing"})
    with pytest.raises(InputError, match="names 'loss'; use small"):
        read_noise(path, columns={"loss": "b"})


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("small", 256, r"row 3 \(line 4\): small is 256 and big 256"),
        ("small", 0, "0 < small < big"),
        ("small", "", "small is '' *; it must be a number"),
        ("big", "inf", "big is 'inf'; it must be a number"),
        ("sq_big", "many", "sq_big is 'many'; it must be a number"),
        ("sq_small", -1.0, "a squared norm is never below 0"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, column: str, value: Any, says: str) -> None:
    given = columns()
    given[column][2] = value
    with pytest.raises(InputError, match=says):
        read_noise(write_table(tmp_path / "norms.csv", given))


def test_norms_that_are_missing_are_left_out_and_counted(tmp_path: Path) -> None:
    given = columns()
    given["sq_big"][3], given["sq_small"][5] = "", "nan"
    ((found,), (note,)) = read_noise(write_table(tmp_path / "norms.csv", given))
    assert len(found) == 62
    assert "2 measurements without finite squared norms" in note
    with pytest.raises(InputError, match="no measurement has finite"):
        read_noise(write_table(tmp_path / "norms.csv", {**given, "sq_big": ["nan"] * 64}))


def test_what_holds_no_norms_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_noise(tmp_path / "nothing.csv")
    with pytest.raises(InputError, match="noise_every= "):
        read_noise(write_record(tmp_path / "run.jsonl", 0))
    with pytest.raises(InputError, match="is for tables"):
        read_noise(write_record(tmp_path / "other.jsonl", 20), columns={"small": "b"})
    (tmp_path / "empty.csv").write_text("small,big,sq_small,sq_big\n", "utf-8")
    with pytest.raises(InputError, match="has no rows"):
        read_noise(tmp_path / "empty.csv")
    (tmp_path / "weights.npz").write_bytes(b"PK")
    with pytest.raises(InputError, match="not a form of table"):
        read_noise(tmp_path / "weights.npz")
    (tmp_path / "torn.jsonl").write_text('{"small": 1', "utf-8")
    with pytest.raises(InputError, match="not JSON"):
        read_noise(tmp_path / "torn.jsonl")


def test_a_records_sizes_may_be_parts_of_tokens_and_are_held_to_account(tmp_path: Path) -> None:
    with RecordWriter(tmp_path / "run.jsonl") as writer:
        writer.header(SPEC, CORPUS, {}, {})
        writer.noise(1, 256, small=37.5, big=256.0, sq_small=2.0, sq_big=1.0)
    text = (tmp_path / "run.jsonl").read_text("utf-8")
    assert '"small": 37.5, "big": 256,' in text  # a whole one as older readers want it
    ((series,), _) = read_noise(tmp_path / "run.jsonl")
    assert (series.small[0], series.big[0]) == (37.5, 256)
    (tmp_path / "run.jsonl").write_text(text.replace('"small": 37.5', '"small": 256'), "utf-8")
    with pytest.raises(InputError, match=r"the noise line of step 1 has the sizes 256 and 256"):
        read_noise(tmp_path / "run.jsonl")
