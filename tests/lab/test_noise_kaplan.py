"""Kaplan's B_crit(L) of two sizes: a law put in comes back, through the fit and the page."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the lab needs torch: install isoloss[lab]")

from isoloss.experiments.noise_kaplan import (  # noqa: E402
    as_markdown,
    fit_sizes,
    main,
    size_ratio,
    together,
    write,
)
from isoloss.fitting import Crossings  # noqa: E402

B_STAR, ALPHA_B = 1.6e5, 0.15
TARGETS = (2.5, 2.4, 2.3, 2.2, 2.1)
BATCHES = 32 * np.array([1, 3, 8, 24, 64, 192, 512])


def scans(
    *, larger: float = 1.0, luck: float = 0.0, targets: tuple[float, ...] = TARGETS
) -> Crossings:
    """Two sizes on one law; B_crit of the second is `larger` times as large."""
    rng = np.random.default_rng(3)
    by_size = {}
    for n, factor in ((6144.0, 1.0), (38400.0, larger)):
        target, batch = (part.ravel() for part in np.meshgrid(targets, BATCHES))
        b_crit = factor * B_STAR * target ** (-1 / ALPHA_B)
        steps = 40 / (target - 1.8) * (n / 6144) ** -0.2 * (1 + b_crit / batch)
        own = dict(zip(BATCHES.tolist(), np.exp(luck * rng.normal(size=len(BATCHES))), strict=True))
        steps = steps * [own[at] for at in batch.tolist()]
        by_size[n] = Crossings.of(target, batch, steps, n=np.full(len(steps), n / 2))
    return together(by_size)


def test_a_law_of_two_sizes_comes_back() -> None:
    found = fit_sizes(scans())
    assert found.joint is not None
    assert found.joint.law is not None
    assert not found.refusal
    assert not found.left_out
    assert found.joint.law.b_star == pytest.approx(B_STAR, rel=1e-4)
    assert found.joint.law.alpha_b == pytest.approx(ALPHA_B, rel=1e-4)
    assert len(found.apart) == 2 * len(TARGETS)
    for one in found.apart:
        expected = B_STAR * one.target[0] ** (-1 / ALPHA_B)
        assert one.b_crit.mid[0] == pytest.approx(expected, rel=1e-3)
    assert {float(one.n[0]) for one in found.apart} == {6144.0, 38400.0}


def test_luck_of_runs_leaves_the_law_in_its_interval_and_the_page_says_what_it_is() -> None:
    found = fit_sizes(scans(luck=0.04))
    assert found.joint is not None
    assert found.joint.alpha_b is not None
    assert found.joint.alpha_b.low < ALPHA_B < found.joint.alpha_b.high
    page = as_markdown(found, {})
    assert "alpha_B 0.1" in page
    assert "may fall on one curve" in page
    rows = [line for line in page.splitlines() if line.startswith(("| 6,144", "| 38,400"))]
    assert len(rows) == 2 * len(TARGETS)


def test_sizes_that_do_not_share_a_curve_are_told_apart() -> None:
    measured = size_ratio(fit_sizes(scans(larger=1.6, luck=0.02)))
    assert measured is not None
    target, ratio = measured
    assert target == 2.3
    assert ratio.low < 1.6 < ratio.high
    assert ratio.low > 1
    assert "do not fall on one curve" in as_markdown(fit_sizes(scans(larger=1.6, luck=0.02)), {})


def test_a_target_beyond_the_reach_of_the_batches_is_left_out_and_named() -> None:
    found = fit_sizes(scans(targets=(2.9, *TARGETS)))
    assert set(found.left_out) == {(6144.0, 2.9), (38400.0, 2.9)}
    assert not found.refusal
    assert found.joint is not None
    assert found.joint.law is not None
    assert found.joint.law.alpha_b == pytest.approx(ALPHA_B, rel=1e-4)
    assert "Left out" in as_markdown(found, {})


def test_batches_on_one_side_alone_give_no_law() -> None:
    data = scans()
    found = fit_sizes(data.take(data.batch >= 3000))
    assert found.refusal
    page = as_markdown(found, {})
    assert "No law" in page
    assert "One law" not in page


def few_runs() -> Crossings:
    """Of the smaller size only four runs, which span the critical batch."""
    data = scans()
    return data.take((data.n > 6144) | np.isin(data.batch, BATCHES[::2]))


def one_side() -> Crossings:
    """Of the smaller size the least batch is 96: below B_crit / 8 of both sizes, not of its own."""
    data = scans(larger=1.3, targets=(2.25, 2.15))
    return data.take((data.n > 6144) | (data.batch > 32))


@pytest.mark.parametrize(("make", "says"), [(few_runs, "4 runs"), (one_side, "do not span")])
def test_what_is_refused_is_marked_and_compared_with_nothing(
    make: Callable[[], Crossings], says: str
) -> None:
    found = fit_sizes(make())
    assert not found.refusal
    assert not found.left_out
    assert set(found.alone) == {38400.0}
    assert says in found.refused[6144.0, None]
    assert size_ratio(found) is None
    page = as_markdown(found, {})
    assert "on one curve" not in page
    assert "6,144 parameters alone: no law: " in page
    assert "One law of both" in page
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| 6,144")]
    marked = {float(row[1]) for row in rows if row[4] == "refused"}
    assert marked == {target for n, target in found.refused if n == 6144 and target is not None}
    assert marked
    assert len(rows) == len(np.unique(make().target))
    assert "Refused: " in page
    assert "Refused: " not in as_markdown(fit_sizes(scans()), {})


def test_a_refused_law_is_in_no_cell_of_the_page() -> None:
    data = scans()
    found = fit_sizes(data.take(data.batch >= 3000))
    assert found.joint is None or found.refusal
    rows = [line for line in as_markdown(found, {}).splitlines() if line.startswith("| 6,144")]
    assert not any(" to " in line for line in rows)


def test_page_numbers_and_figures_are_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = fit_sizes(scans(luck=0.02))
    assert write(found, {}, tmp_path) == (tmp_path / "kaplan.md").read_text(encoding="utf-8")
    kept = json.loads((tmp_path / "kaplan.json").read_text(encoding="utf-8"))
    assert found.joint is not None
    assert found.joint.b_star is not None
    assert kept["joint"]["b_star"]["mid"] == pytest.approx(float(found.joint.b_star.mid))
    assert [one["n"] for one in kept["alone"]] == [[6144.0] * 5, [38400.0] * 5]
    assert sorted(path.name for path in tmp_path.glob("*.svg")) == [
        "kaplan_critical.svg",
        "kaplan_scans.svg",
    ]


@pytest.mark.full
def test_the_command_makes_both_sizes_and_goes_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["--folder", str(tmp_path), "--quick"]) == 0
    page = capfd.readouterr().out
    assert "No law" in page
    assert (tmp_path / "kaplan.md").read_text() == page
    assert (tmp_path / "6144" / "study.md").is_file()
    before = sorted(tmp_path.glob("*/runs/b*.json"))
    assert main(["--folder", str(tmp_path), "--quick"]) == 0
    assert sorted(tmp_path.glob("*/runs/b*.json")) == before
