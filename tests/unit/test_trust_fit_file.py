"""The file of a fit is read back, with coefficients below zero where the law has them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from isoloss.errors import InputError
from isoloss.fitting import fit
from isoloss.laws import BrokenPowerLaw, Chinchilla
from isoloss.runs import Runs
from isoloss.trust import FittedLaw, read_fit
from isoloss.trust.fit_file import VERSION

# The curve flattens beyond the break, so that c1 is below zero.
LAW = BrokenPowerLaw(a=0.0, b=60.0, c0=0.25, c1=-0.15, d1=3e7, f1=0.4)


def write(path: Path, **changes: object) -> Path:
    content = {
        "form": "BrokenPowerLaw",
        "law": dict(LAW.coefficients()),
        "residuals": [0.001, -0.002, 0.0015],
        "runs": {"n_convention": "total", "loss_unit": "nats"},
        "sample": {name: [value] * 3 for name, value in LAW.coefficients().items()},
    }
    path.write_text(json.dumps(content | changes), encoding="utf-8")
    return path


def test_a_coefficient_below_zero_is_read_where_its_range_goes_there(tmp_path: Path) -> None:
    found = read_fit(write(tmp_path / "fit.json"))
    assert found.law == LAW
    assert np.all(found.sample["c1"] == -0.15)


@pytest.mark.parametrize("name", ["b", "c0", "d1", "f1"])
def test_no_other_coefficient_may_be_below_zero(tmp_path: Path, name: str) -> None:
    wrong = dict(LAW.coefficients()) | {name: -0.1}
    with pytest.raises(InputError, match=f"{name} must not be negative"):
        read_fit(write(tmp_path / "fit.json", law=wrong))


def test_a_file_of_a_later_version_is_refused(tmp_path: Path) -> None:
    read_fit(write(tmp_path / "first.json", version=1))
    with pytest.raises(InputError, match=r"in version 2 .* reads version 1: update isoloss"):
        read_fit(write(tmp_path / "later.json", version=2))


TABLE = "params,tokens,loss\n1e9,2e10,3\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("runs.csv", TABLE),
        ("runs.csv.gz", TABLE),
        ("runs.jsonl", '{"params": 1}\n{"params": 2}\n'),
        ("runs.json", '[{"params": 1e9, "tokens": 2e10, "loss": 3}]'),
        ("runs.json", '{"params": [1e9], "tokens": [2e10], "loss": [3]}'),
    ],
)
def test_runs_given_for_a_fit_are_known_for_what_they_are(
    tmp_path: Path, name: str, content: str
) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    for path in (tmp_path / name, tmp_path):
        with pytest.raises(InputError, match=r"holds runs and no fit; isoloss fit .* by --runs$"):
            read_fit(path)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"form": "Chinchila"}, "the law 'Chinchila' is not known"),
        ({"law": {"a": 1.0}}, "BrokenPowerLaw has the coefficients"),
        ({"runs": 3}, "`runs` must say"),
        ({"residuals": "none"}, "residuals must hold numbers"),
        ({"sample": {"a": [1.0]}}, "`sample` must hold"),
        ({"forecast": {}}, "`forecast` must hold"),
        ({"version": 2}, "update isoloss"),
    ],
)
def test_a_damaged_file_says_what_to_do(
    tmp_path: Path, changes: dict[str, object], says: str
) -> None:
    with pytest.raises(InputError, match=f"{says}.*; write it again with isoloss fit --out$"):
        read_fit(write(tmp_path / "fit.json", **changes))


@pytest.mark.parametrize("content", ["", "{", "no JSON", "[" * 100_000])
def test_what_is_no_json_says_what_to_do(tmp_path: Path, content: str) -> None:
    (tmp_path / "fit.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"not a readable fit .*; write one with isoloss fit"):
        read_fit(tmp_path / "fit.json")


def test_runs_of_a_file_that_give_no_law_are_refused_by_its_name(tmp_path: Path) -> None:
    n, d = (x.ravel() for x in np.meshgrid([3e7, 1e8, 3e8, 9e8], [1e9, 4e9, 1.6e10]))
    found = fit(Chinchilla, Runs(n=n, d=d, loss=Chinchilla(1.8, 480.0, 2100.0, 0.35, 0.37)(n, d)))
    content = FittedLaw.of(found).to_dict()
    content["forecast"]["n"] = [1e8] * len(n)
    path = write(
        tmp_path / "fit.json", **content, form="Chinchilla", law=found.coefficients,
        residuals=found.residuals.tolist(), sample={},
    )  # fmt: skip
    with pytest.raises(InputError, match=r"fit\.json: the runs in `forecast` give no law \(Chin"):
        read_fit(path)


def test_a_fit_is_written_with_the_version_that_is_read() -> None:
    n, d = (x.ravel() for x in np.meshgrid([3e7, 1e8, 3e8, 9e8], [1e9, 4e9, 1.6e10]))
    found = fit(Chinchilla, Runs(n=n, d=d, loss=Chinchilla(1.8, 480.0, 2100.0, 0.35, 0.37)(n, d)))
    assert FittedLaw.of(found).to_dict()["version"] == VERSION
