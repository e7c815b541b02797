"""Bad data never yields a confident answer: each kind has a code or a refusal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from isoloss.counting import Shape
from isoloss.errors import InputError, Status, UnidentifiedError
from isoloss.fitting import fit
from isoloss.fitting.inspection import leave_one_out
from isoloss.fitting.runs_inspection import MANY, inspect_runs
from isoloss.laws import Chinchilla, KaplanND, PowerLaw, allocate
from isoloss.planning import plan
from isoloss.runs import Runs, RunSpec, read_runs
from isoloss.trust import bootstrap
from isoloss.units import PF_DAY

LAW = Chinchilla(1.69, 406.4, 410.7, 0.34, 0.28)


def good_runs(count: int = 40, seed: int = 0, noise: float = 0.004) -> Runs:
    random = np.random.default_rng(seed)
    n, d = 10 ** random.uniform(7.0, 8.9, count), 10 ** random.uniform(9.2, 11.0, count)
    loss = LAW(n, d) * np.exp(noise * random.standard_normal(count))
    return Runs(n=n, d=d, loss=loss, n_convention="total")


def codes(runs: Runs) -> set[Status]:
    found = fit(Chinchilla, runs)
    assert {one.code for one in found.findings} <= {*found.status, *Status}
    return set(found.status)


def test_good_runs_have_nothing_wrong_with_them() -> None:
    for seed in range(4):
        found = fit(Chinchilla, good_runs(seed=seed))
        assert found.findings == ()
        assert found.status == ()


def test_an_unknown_convention_is_a_finding_and_no_doubt_of_the_fit() -> None:
    runs = good_runs().replace(n_convention="unknown")
    found = fit(Chinchilla, runs)
    assert [one.code for one in found.findings] == [Status.UNKNOWN_CONVENTION]
    assert found.status == ()


@pytest.mark.parametrize(
    ("sizes", "tokens", "says"),
    [
        ([1e8, 4e8], [1e9, 8e9], "runs"),
        ([1e8, 4e8], [1e9, 2e9, 4e9, 8e9, 16e9], "size"),
        ([1e8, 2e8, 4e8, 8e8], [1e9, 8e9], "token"),
        ([1e8], [1e9, 2e9, 4e9, 8e9, 16e9, 32e9], "size"),
    ],
    ids=["two by two", "two sizes", "two token counts", "one size"],
)
def test_too_few_levels_are_refused(sizes: list[float], tokens: list[float], says: str) -> None:
    n, d = (column.ravel() for column in np.meshgrid(sizes, tokens))
    with pytest.raises(UnidentifiedError, match=says):
        fit(Chinchilla, Runs(n=n, d=d, loss=LAW(n, d)))


def test_three_points_and_a_constant_loss_are_refused() -> None:
    three = good_runs(3)
    with pytest.raises(UnidentifiedError):
        fit(Chinchilla, three)
    flat = good_runs().replace(loss=np.full(40, 3.0))
    with pytest.raises(UnidentifiedError, match="same loss"):
        fit(Chinchilla, flat)


def test_n_and_d_exchanged() -> None:
    runs = good_runs()
    assert Status.SWAPPED in codes(Runs(n=runs.d, d=runs.n, loss=runs.loss, n_convention="total"))
    # Sizes above their tokens may be meant, unless steps and batch say what the tokens were.
    batch, steps = np.full(40, 2.0**19), runs.d / 2.0**19
    exchanged = Runs(n=runs.d / 1e3, d=runs.d, loss=runs.loss)
    assert Status.SWAPPED not in {one.code for one in inspect_runs(exchanged)}
    given = Runs(n=runs.d, d=2 * runs.d, loss=runs.loss, batch=batch, steps=steps)
    (finding,) = [one for one in inspect_runs(given) if one.code is Status.SWAPPED]
    assert "batch times steps is n" in finding.detail


def test_exchanged_columns_are_named_with_what_they_hold() -> None:
    runs = good_runs()
    found = fit(Chinchilla, Runs(n=runs.d, d=runs.n, loss=runs.loss))
    (finding,) = [one for one in found.findings if one.code is Status.SWAPPED]
    assert "fewer tokens (d, 10.1M to 785M) than parameters (n, 1.97B to 98.0B)" in finding.detail
    assert "--columns n=...,d=..." in Status.SWAPPED.value


def test_counts_in_millions_are_not_taken_for_exchanged_columns() -> None:
    runs = good_runs()
    in_billions = runs.replace(d=runs.d / 1e9)  # far fewer tokens than parameters
    assert [one.code for one in inspect_runs(in_billions)] == [Status.WRONG_UNITS]
    both = Runs(n=runs.n / 1e6, d=runs.d / 1e9, loss=runs.loss, n_convention="total")
    assert [one.code for one in inspect_runs(both)] == [Status.WRONG_UNITS]
    in_millions = {"n": runs.n, "d": runs.d / 1e6, "loss": runs.loss, "n_convention": "total"}
    (finding,) = inspect_runs(Runs(**in_millions))
    assert finding.code is Status.WRONG_UNITS
    assert "is d in millions?" in finding.detail
    (finding,) = inspect_runs(Runs(**in_millions | {"n": runs.n / 1e6, "d": runs.d}))
    assert "is n in millions?" in finding.detail or finding.detail.startswith("n is ")
    # Long runs of small models, d in millions: only the compute beside it says so.
    long = {"n": 1e7 + 0.01 * runs.n, "d": 5e3 * runs.n / 1e6, "loss": runs.loss}
    assert Status.SWAPPED in {one.code for one in inspect_runs(Runs(**long))}
    found = inspect_runs(Runs(**long, c=6e6 * long["n"] * long["d"], c_convention="reported"))
    assert Status.SWAPPED not in {one.code for one in found}
    (finding,) = [one for one in found if one.code is Status.FLOPS_RATIO]
    assert finding.detail.endswith("n or d may be in millions")


@pytest.mark.parametrize("name", ["n", "d"])
@pytest.mark.parametrize("unit", [1e6, 1e9])
@pytest.mark.parametrize("rows", [[3], [0, 1, 2, 5, 8, 11, 20], list(range(30))])
def test_two_units_in_one_column(name: str, unit: float, rows: list[int]) -> None:
    runs = good_runs()
    values = getattr(runs, name).copy()
    values[rows] /= unit
    columns = {"n": runs.n, "d": runs.d} | {name: values}
    mixed = Runs(**columns, loss=runs.loss, n_convention="total")
    (finding,) = inspect_runs(mixed)
    assert finding.code is Status.WRONG_UNITS
    word = {1e6: "millions", 1e9: "billions"}[unit]
    assert f"in {len(rows)} of 40 runs, as if in {word}" in finding.detail
    if len(rows) > 20:
        assert Status.WRONG_UNITS in fit(Chinchilla, mixed).status


def test_two_units_in_the_compute() -> None:
    runs = good_runs()
    c = runs.c.copy()
    c[::4] /= PF_DAY
    (finding,) = inspect_runs(runs.replace(c=c, c_convention="reported"))
    assert finding.code is Status.FLOPS_RATIO
    assert finding.detail.startswith("in 10 of 40 runs c is 1.157e-20 times 6 n d")
    assert finding.detail.endswith("PF-days, so multiply c by 8.64e+19")


def test_a_wide_column_or_a_placeholder_is_no_mixture() -> None:
    wide = np.geomspace(1e4, 1e12, 40)
    runs = good_runs().replace(n=wide, d=1e3 * wide)
    assert inspect_runs(runs) == ()
    assert inspect_runs(runs.replace(n=np.ones(40))) == ()
    one = runs[np.array([0])]
    assert inspect_runs(one) == ()


TABLES = [
    "chinchilla_isoflop.csv",
    "datablations.csv",
    "epoch_chinchilla.csv",
    "gadre.csv",
    "kyotakano_chinchilla.csv",
    "marin_comma.csv",
    "marin_dclm.csv",
    "misfitting_curves.csv.gz",
    "misfitting_final.csv",
    "porian_refinedweb_isoflop.csv.gz",
]


@pytest.mark.parametrize("file", TABLES)
def test_no_public_table_is_taken_for_a_mixture_of_units(shared_data: Path, file: str) -> None:
    runs = read_runs(shared_data / file, drop_invalid=True)
    seen = {one.code for one in inspect_runs(runs)}
    assert Status.WRONG_UNITS not in seen
    assert Status.SWAPPED not in seen


def two_experiments(offset: float, seed: int = 0, count: int = 40, second: int = 12) -> Runs:
    runs = good_runs(count, seed)
    late = np.arange(count) >= count - second
    group = np.where(late, "new data", "old data")
    return runs.replace(loss=runs.loss * np.exp(offset * late), group=group)


@pytest.mark.parametrize("offset", [-0.2, -0.04, 0.04, 0.2])
def test_two_experiments_in_one_table(offset: float) -> None:
    found = fit(Chinchilla, two_experiments(offset))
    assert Status.MIXED_GROUPS in found.status
    (finding,) = [one for one in found.findings if one.code is Status.MIXED_GROUPS]
    assert "'new data'" in finding.detail or "'old data'" in finding.detail
    above = ("'new data'" in finding.detail) == (offset > 0)
    assert ("above" if above else "below") in finding.detail


def test_groups_of_one_experiment_are_no_mixture() -> None:
    for seed in range(6):
        assert fit(Chinchilla, two_experiments(0.0, seed)).status == ()
    # Groups that are budgets: what the law gets wrong bends with compute, and is no experiment.
    n, d = (column.ravel() for column in np.meshgrid(np.geomspace(3e7, 3e9, 7), [1e9, 8e9, 6e10]))
    for seed in range(6):
        random = np.random.default_rng(seed)
        wrong = 0.008 * np.sin(1.1 * np.log(n * d) + random.uniform(0, 6))
        loss = LAW(n, d) * np.exp(wrong + 0.001 * random.standard_normal(n.size))
        group = np.floor(2 * np.log10(n * d)).astype(str)
        runs = Runs(n=n, d=d, loss=loss, group=group, n_convention="total")
        assert Status.MIXED_GROUPS not in fit(Chinchilla, runs).status


@pytest.mark.parametrize(
    ("file", "group"),
    [
        ("marin_comma.csv", "c"),
        ("marin_dclm.csv", "c"),
        ("chinchilla_isoflop.csv", "n"),
        ("misfitting_final.csv", "c"),
        ("misfitting_final.csv", "d"),
    ],
)
def test_groups_within_a_public_experiment_are_no_mixture(
    shared_data: Path, file: str, group: str
) -> None:
    """Budgets, sizes or token counts taken for groups, though no law follows them exactly."""
    runs = read_runs(shared_data / file)
    alike = np.round(np.log10(getattr(runs, group)), 1).astype(str)
    assert Status.MIXED_GROUPS not in fit(Chinchilla, runs.replace(group=alike)).status


@pytest.mark.parametrize("same", ["n", "d"])
@pytest.mark.parametrize("noise", [0.0, 0.003])
def test_kaplans_law_is_refused_one_size_or_one_token_count(same: str, noise: float) -> None:
    """Its outer exponent bends the law, so a fit would answer from the formula alone."""
    random = np.random.default_rng(1)
    varied, alike = np.geomspace(1e7, 1e10, 16), np.full(16, 1e10)
    n, d = (alike, varied) if same == "n" else (varied, alike)
    runs = Runs(n=n, d=d, loss=LAW(n, d) * np.exp(noise * random.standard_normal(16)))
    told = []
    for form in (Chinchilla, KaplanND):
        with pytest.raises(UnidentifiedError, match=f"all runs have the same {same}") as caught:
            fit(form, runs)
        assert caught.value.partial is not None
        told.append(str(caught.value).partition(": ")[2])
    assert told[0] == told[1]
    held = {"n": {"Nc": 8.8e13, "alpha_n": 0.076}, "d": {"Dc": 5.4e13, "alpha_d": 0.095}}[same]
    assert fit(KaplanND, runs, fixed=held).coefficients


def test_perplexity_for_loss() -> None:
    runs = good_runs()
    assert Status.NOT_NATS in codes(runs.replace(loss=np.exp(runs.loss)))
    named = runs.replace(loss=np.exp(runs.loss), loss_unit="perplexity")
    assert Status.NOT_NATS not in {one.code for one in inspect_runs(named)}


def test_losses_above_those_of_any_trained_model() -> None:
    runs = good_runs()
    found = inspect_runs(runs.replace(loss=2.8 * runs.loss))
    assert [one.code for one in found] == [Status.NOT_NATS]
    assert "half of the losses are above 7" in found[0].detail


def test_bits_for_nats_where_the_vocabulary_shows_it() -> None:
    shape = Shape(2, 32, 4, vocab=256, n_ctx=64)
    specs = {"a": RunSpec(shape=shape, tokens=64_000, batch=64, lr=1e-3)}
    nats = Runs(n=[1e4] * 3, d=[64e3] * 3, loss=[5.1, 4.9, 4.7], run=["a", "b", "a"], specs=specs)
    assert Status.NOT_NATS not in {one.code for one in inspect_runs(nats)}
    bits = nats.replace(loss=nats.loss / np.log(2))
    (finding,) = [one for one in inspect_runs(bits) if one.code is Status.NOT_NATS]
    assert "run a is 7.358" in finding.detail
    assert "5.55 nats" in finding.detail


def test_bits_for_nats_where_a_bytes_column_shows_it(tmp_path: Path) -> None:
    runs = good_runs(8)
    path = tmp_path / "runs.csv"

    def write(loss: np.ndarray) -> None:
        lines = ["params,tokens,loss,bits_per_byte,bytes_per_token"]
        for n, d, shown, nats in zip(runs.n, runs.d, loss, runs.loss, strict=True):
            lines.append(f"{n},{d},{shown},{nats / np.log(2) / 4.1},{4.1}")
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    write(runs.loss)
    assert read_runs(path).loss == pytest.approx(runs.loss)
    write(runs.loss / np.log(2))
    with pytest.raises(InputError, match="bits per token by the columns beside it"):
        read_runs(path)
    assert read_runs(path, loss_unit="bits").loss == pytest.approx(runs.loss)


def test_one_gross_outlier_is_named() -> None:
    runs = good_runs()
    loss = runs.loss.copy()
    loss[17] *= 1.4
    found = fit(Chinchilla, runs.replace(loss=loss))
    assert Status.OUTLIER in found.status
    (finding,) = [one for one in found.findings if one.code is Status.OUTLIER]
    assert finding.detail.startswith("run 17 lies 34%")
    assert found.coefficients["alpha"] == pytest.approx(LAW.alpha, abs=0.08)


def test_a_run_that_alone_decides_is_named() -> None:
    """One size far above the others, a little off: the exponent of n hangs on it."""
    random = np.random.default_rng(3)
    n = np.append(np.tile([1.0e8, 1.2e8, 1.45e8, 1.7e8], 6), 3e9)
    d = np.append(10 ** random.uniform(9.2, 11, 24), 2e10)
    loss = LAW(n, d) * np.exp(0.001 * random.standard_normal(25))
    loss[-1] *= 1.01
    found = fit(Chinchilla, Runs(n=n, d=d, loss=loss), delta=None)
    assert Status.INFLUENTIAL_RUN in found.status
    (finding,) = [one for one in found.findings if one.code is Status.INFLUENTIAL_RUN]
    assert "without run 24" in finding.detail


def test_one_step_without_a_run_is_close_to_the_fit_without_it() -> None:
    runs = good_runs(30, seed=2)
    found = fit(Chinchilla, runs, delta=None)
    step = 1e-4 * np.maximum(np.abs(found.coordinates), 1e-4)

    def log_best(coordinates: np.ndarray) -> np.ndarray:
        return np.log(allocate(found.design.law(coordinates), 1e21).n)

    up, down = found.coordinates + np.diag(step), found.coordinates - np.diag(step)
    slope = (log_best(up) - log_best(down)) / (2 * step)
    (residuals,), (jacobian,) = found.design.evaluate(
        found.coordinates[None], found.design.log_loss[None]
    )
    moved = leave_one_out(residuals, jacobian, np.ones(30), slope)
    whole = np.log(allocate(found.law, 1e21).n)
    for row in np.argsort(-np.abs(moved))[:6]:
        rest = np.arange(30) != row
        without = np.log(allocate(fit(Chinchilla, runs[rest], delta=None).law, 1e21).n)
        assert without - whole == pytest.approx(moved[row], rel=0.5, abs=0.03)


@pytest.mark.parametrize(
    ("factor", "says"),
    [
        (1 / 3, "forward pass"),
        (1e-9, "GFLOPs"),
        (1 / PF_DAY, "PF-days"),
        (1e6, "n or d may be in millions"),
        (1e9, "n or d may be in billions"),
        (1e15, "in millions and billions"),
        (1e18, "both be in billions"),
        (2.3, "in 40 of 40 runs c is 2.3 times 6 n d, where 0.8 to 1.5 times is usual: check"),
    ],
)
def test_compute_that_sizes_and_tokens_do_not_imply(factor: float, says: str) -> None:
    runs = good_runs()
    wrong = runs.replace(c=factor * runs.c, c_convention="reported")
    (finding,) = [one for one in inspect_runs(wrong) if one.code is Status.FLOPS_RATIO]
    assert says in finding.detail
    assert Status.FLOPS_RATIO in codes(wrong)


def test_compute_is_held_against_what_the_shapes_imply() -> None:
    runs = good_runs()
    exact = 2.4 * runs.c  # small models: attention and the head cost more than 6 n
    same = runs.replace(c=1.02 * exact, c_convention="reported", costs={"exact": exact})
    assert inspect_runs(same) == ()
    (finding,) = inspect_runs(same.replace(c=runs.c))
    assert "c is 1 times 6 n d, where the shapes imply 2.4 times" in finding.detail


def test_copies_hot_losses_and_diverged_runs() -> None:
    runs = good_runs()
    twice = Runs.concat([runs, runs[:3]])
    assert Status.DUPLICATED_RUNS in codes(twice)
    names = [f"run {i}" for i in range(40)]
    early = runs.replace(d=runs.d / 3, loss=LAW(runs.n, runs.d / 3) * 1.03, run=names)
    mixed = Runs.concat([runs.replace(run=names), early]).replace(run=names * 2)
    assert Status.HOT_AND_COOLED in codes(mixed)
    assert Status.HOT_AND_COOLED not in {one.code for one in inspect_runs(mixed, along_curves=True)}
    noted = runs.replace(notes=("2 of 42 runs diverged and are left out: a, b",))
    assert [one.code for one in fit(Chinchilla, noted).findings] == [Status.DIVERGED_RUNS]


def test_more_rows_than_anyone_has_runs() -> None:
    runs = good_runs(MANY + 1)
    assert Status.MANY_ROWS in codes(runs)
    one = fit(PowerLaw, runs, x="c")
    assert Status.MANY_ROWS in one.status


@pytest.mark.full
def test_a_million_points() -> None:
    found = fit(Chinchilla, good_runs(1_000_000))
    assert Status.MANY_ROWS in found.status
    assert found.coefficients["alpha"] == pytest.approx(LAW.alpha, abs=0.002)


def test_a_budget_far_beyond_the_runs_is_said_to_be() -> None:
    runs = good_runs()
    found, largest = fit(Chinchilla, runs), float(runs.c.max())
    assert plan(found, flops=20 * largest).status == ()
    far = plan(found, flops=40 * largest)
    assert far.status == (Status.EXTRAPOLATED,)
    assert Status.EXTRAPOLATED.value in far.notes
    draws = bootstrap(found, draws=100)
    assert plan(draws, flops=40 * largest).status == (Status.EXTRAPOLATED,)
