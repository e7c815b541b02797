"""The table Runs: checks, slices, other counts, hash, concat, frames."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from isoloss.errors import InputError
from isoloss.runs import Runs


def table(**changes: object) -> Runs:
    fields: dict[str, object] = {
        "n": [10.0, 20.0, 40.0],
        "d": [300.0, 100.0, 200.0],
        "loss": [4.0, 3.5, 3.0],
        "c": [7e4, 8e4, 9e4],
        "lr": [0.1, np.nan, 0.3],
        "run": ["a", "b", "c"],
        "n_convention": "total",
        "c_convention": "exact",
        "counts": {"total": [10, 20, 40], "non_embedding": [6, 12, 30]},
        "costs": {"exact": [7e4, 8e4, 9e4], "6nd": [1e4, 2e4, 3e4]},
    }
    return Runs(**{**fields, **changes})  # type: ignore[arg-type]


def test_compute_is_6nd_unless_given() -> None:
    runs = Runs(n=[1, 2], d=[30, 50], loss=[2, 1])  # type: ignore[arg-type]
    assert runs.c.tolist() == [180.0, 600.0]
    assert runs.c_convention == "6nd"
    assert runs.run.tolist() == ["0", "1"]
    assert runs.group.tolist() == ["", ""]
    assert runs.batch is None
    assert len(runs) == 2


def test_arrays_are_copies_and_read_only() -> None:
    n = np.array([1.0, 2.0])
    runs = Runs(n=n, d=n, loss=n)
    n[0] = 5
    assert runs.n[0] == 1
    with pytest.raises(ValueError, match="read-only"):
        runs.n[0] = 7


@pytest.mark.parametrize("field", ["n", "d", "loss", "c"])
@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, -2.0])
def test_bad_values_are_named_by_row(field: str, value: float) -> None:
    good = {"n": [1.0, 2], "d": [1.0, 2], "loss": [1.0, 2], "c": [1.0, 2], "run": ["x", "y"]}
    good[field] = [1.0, value]
    with pytest.raises(InputError, match=rf"row 1 \(run 'y'\): {field} is .*positive and finite"):
        Runs(**good)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"d": [1.0, 2]}, "d has shape (2,); it must be (3,), one per run"),
        ({"lr": [[1.0, 2, 3]]}, "lr has shape (1, 3)"),
        ({"loss": ["a", "b", "c"]}, "loss must hold numbers"),
        ({"run": ["a"]}, "run has 1 values; it must have 3"),
        ({"n_convention": "totall"}, "is 'totall'; use one of non_embedding"),
        ({"loss_unit": "foo"}, "loss_unit is 'foo'; use one of nats"),
        ({"n": [1e300, 1e8, 1e8]}, "n is 1e+300; it must lie between 1e-30 and 1e+30"),
        ({"d": [1e300, 1e300, 1e300]}, "3 of 3 rows are bad in d"),
        ({"loss": [3.0, 1e-300, 2.0]}, "loss is 1e-300; it must lie between"),
        ({"c_convention": "7nd"}, "c_convention is '7nd'; use one of"),
        ({"counts": {"total": [1.0]}}, "counts['total'] has shape (1,)"),
    ],
)
def test_wrong_tables_are_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(InputError) as caught:
        table(**change)
    assert words in str(caught.value)


def test_slices_keep_every_column_and_the_curves_of_the_runs_kept() -> None:
    curves = Runs(
        n=[10, 10, 40],  # type: ignore[arg-type]
        d=[1, 2, 3],  # type: ignore[arg-type]
        loss=[9, 8, 7],  # type: ignore[arg-type]
        run=["a", "a", "c"],  # type: ignore[arg-type]
    )
    runs = table(curves=curves, notes=("said",))
    for rows in (runs.n > 15, slice(1, None), [1, 2], np.array([1, 2])):
        part = runs[rows]
        assert part.run.tolist() == ["b", "c"]
        assert part.counts["non_embedding"].tolist() == [12, 30]
        assert part.costs["6nd"].tolist() == [2e4, 3e4]
        assert part.lr is not None
        assert np.isnan(part.lr[0])
        assert part.notes == ("said",)
        assert part.curves is not None
        assert part.curves.d.tolist() == [3]
    assert runs[0].run.tolist() == ["a"]
    assert runs[-1].run.tolist() == ["c"]
    assert len(runs[[]]) == 0
    with pytest.raises(InputError, match="mask has 2 values for 3 runs"):
        runs[np.array([True, False])]


def test_counted_otherwise() -> None:
    runs = table(curves=table())
    other = runs.counted("non_embedding")
    assert other.n.tolist() == [6, 12, 30]
    assert other.n_convention == "non_embedding"
    assert other.c.tolist() == runs.c.tolist()
    assert other.curves is not None
    assert other.curves.n.tolist() == [6, 12, 30]
    back = other.counted("total", flops="6nd")
    assert back.n.tolist() == runs.n.tolist()
    assert back.c.tolist() == [1e4, 2e4, 3e4]
    assert back.c_convention == "6nd"
    assert back.counted("total", flops="exact").hash == runs.hash


def test_a_derived_compute_follows_n() -> None:
    runs = table(c=None, c_convention="", costs={})
    other = runs.counted("non_embedding")
    assert other.c.tolist() == (6 * other.n * other.d).tolist()
    assert other.c_convention == "6nd"
    assert runs.counted("total", flops="6nd").c.tolist() == runs.c.tolist()
    assert runs.replace(d=runs.d * 2).c.tolist() == (12 * runs.n * runs.d).tolist()
    # A cost that was given stays what it is.
    assert table(costs={}).counted("non_embedding").c.tolist() == [7e4, 8e4, 9e4]
    swapped = table(costs={}).counted("non_embedding", flops="6nd")
    assert swapped.c.tolist() == (6 * swapped.n * swapped.d).tolist()
    assert swapped.counted("total", flops="exact").c.tolist() == [7e4, 8e4, 9e4]


def test_counts_that_are_not_there_are_refused() -> None:
    with pytest.raises(InputError, match="no n counted as 'active'; they have total, non_emb"):
        table().counted("active")
    with pytest.raises(InputError, match="no c counted as 'kaplan'; they have exact, 6nd"):
        table().counted("total", flops="kaplan")


def test_repr_is_one_line() -> None:
    assert repr(table()) == (
        "Runs(3 rows: n 10.0 to 40.0, d 100 to 300, c 70.0K to 90.0K, loss 3.00 to 4.00; "
        "n total, c exact, loss in nats)"
    )
    assert repr(table()[[]]) == "Runs(none)"


def test_hash_depends_on_the_data_and_only_on_it() -> None:
    runs = table()
    assert runs.hash == table(run=["x", "y", "z"], notes=("n",)).hash
    assert len(runs.hash) == 64
    for name in ("n", "d", "loss", "c"):
        changed = getattr(runs, name).copy()
        changed[1] *= 1 + 1e-15 * 4
        assert runs.replace(**{name: changed}).hash != runs.hash


def test_replace_refuses_unknown_fields() -> None:
    with pytest.raises(InputError, match="no field 'losses'"):
        table().replace(losses=[1])


def test_concat() -> None:
    first = table(source="one.csv", notes=("x",), curves=table())
    second = table(
        lr=None,
        sd=[0.1, 0.2, 0.3],
        source="two.csv",
        notes=("x", "y"),
        counts={"total": [10, 20, 40]},
    )
    both = Runs.concat([first, second])
    assert both.n.tolist() == [10, 20, 40] * 2
    assert both.run.tolist() == ["0:a", "0:b", "0:c", "1:a", "1:b", "1:c"]
    assert both.lr is not None
    assert np.isnan(both.lr[3:]).all()
    assert both.sd is not None
    assert both.sd[3:].tolist() == [0.1, 0.2, 0.3]
    assert list(both.counts) == ["total"]
    assert both.source == "one.csv; two.csv"
    assert both.notes == ("x", "y")
    assert both.curves is not None
    assert both.curves.run.tolist() == ["0:a", "0:b", "0:c"]
    apart = Runs.concat([first, table(run=["d", "e", "f"])])
    assert apart.run.tolist() == list("abcdef")


def test_concat_refuses_what_does_not_compare() -> None:
    with pytest.raises(InputError, match=r"differ in n_convention \(active, total\)"):
        Runs.concat([table(), table(n_convention="active")])
    with pytest.raises(InputError, match="differ in loss_unit"):
        Runs.concat([table(), table(loss_unit="bits per byte")])
    with pytest.raises(InputError, match="nothing to concatenate"):
        Runs.concat([])


def test_to_frame() -> None:
    frame = table().to_frame()
    assert frame["params"].to_list() == [10, 20, 40]
    assert frame["params_non_embedding"].to_list() == [6, 12, 30]
    assert frame["n_convention"].to_list() == ["total"] * 3


def test_to_frame_without_polars_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(InputError, match=r"pip install 'isoloss\[tables\]'"):
        table().to_frame()
