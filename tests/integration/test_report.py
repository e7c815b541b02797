"""A whole report: complete, alone in its file, the same every time, open about what is missing."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simulated import LAW, demo_runs, plain_runs

import isoloss
from isoloss.errors import InputError
from isoloss.fitting import fit
from isoloss.laws import Chinchilla, PowerLaw
from isoloss.reporting import report
from isoloss.runs import Runs
from isoloss.trust import Outcome, Target, bootstrap, make_forecasts

pytest.importorskip("matplotlib")
FEW = {"draws": 100, "date": "2026-01-01"}
FIGURES = (
    "isoloss",
    "forecasts",
    "backtest",
    "loss-compute",
    "loss-resources",
    "residuals",
    "isoflop",
    "learning-curves",
)
VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """The elements of a page: ids, references, text, and whether every tag is closed."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.outside: list[str] = []
        self.tags: set[str] = set()
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, Any]]) -> None:
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("href", "src", "xlink:href"):
                (self.targets if value.startswith("#") else self.outside).append(value)
            self.targets += re.findall(r"url\((#[^)]+)\)", value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, Any]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).replace("\N{NO-BREAK SPACE}", " ").split())


def outcomes_of(runs: Runs) -> list[Outcome]:
    draws = bootstrap(fit(Chinchilla, runs), draws=100)
    targets = [Target("<i>first</i>", 6e4, 1.1e7, 7e12), Target("second", 1e5, 4e6, 3.6e12)]
    first, second = make_forecasts(draws, targets)
    return [
        Outcome(first, float(LAW(first.n, first.d)), 0.005),
        Outcome(second, second.high * 1.02, 0.005),
    ]


def write(folder: Path, date: str) -> str:
    runs = demo_runs()
    path = folder / "report.html"
    returned = report(
        runs,
        path,
        target_flops=7e13,
        outcomes=outcomes_of(runs),
        command="isoloss demo --out 'a & <b>'",
        title="A <demo>",
        draws=100,
        date=date,
    )
    assert returned == path
    assert [entry.name for entry in path.parent.iterdir()] == ["report.html"]
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(tmp_path_factory.mktemp("report"), "2026-01-01")


def test_the_page_is_whole_and_alone(written: str) -> None:
    page = Page(written)
    assert not page.open
    assert len(page.ids) == len(set(page.ids))
    assert {target[1:] for target in page.targets} <= set(page.ids)
    assert page.outside == []
    assert not page.tags & {"script", "link", "img", "iframe", "object"}
    assert not re.findall(r"https?://(?!www\.w3\.org/)", written)
    assert "@import" not in written


def test_every_figure_is_there_with_how_to_read_it(written: str) -> None:
    ids = Page(written).ids
    for name in FIGURES:
        assert name in ids
    assert written.count("<svg") == len(FIGURES)
    assert written.count("How to read this:") == len(FIGURES)


def test_the_page_says_what_a_reader_must_know(written: str) -> None:
    runs, text = demo_runs(), Page(written).text
    for words in (
        runs.hash,
        "isoloss demo --out 'a & <b>'",
        "non-embedding + head",
        "non-embedding (Kaplan's count), 6ND",
        "exact FLOPs",
        "2 runs diverged and were left out: <b>isoflop-1</b> & another",
        f"isoloss {isoloss.__version__}",
        f"numpy {np.__version__}",
        "1 of 2 forecasts made beforehand held",
        "The largest missed by",
        "<i>first</i>",
        "Written on 2026-01-01.",
        "Kaplan et al. (2020)",
        "Besiroglu",
        "Seeds of one configuration differ by",
        "median of the draws",
        "100 times the largest run",
    ):
        assert words in text, words


def test_two_kinds_of_exponent_are_never_in_one_table(written: str) -> None:
    tables = re.findall(r"<table>.*?</table>", written, flags=re.DOTALL)
    pure = [table for table in tables if "Kaplan 2020" in table]
    reducible = [table for table in tables if "Hoffmann 2022" in table]
    assert len(pure) == len(reducible) == 1
    assert pure != reducible
    assert "0.076" in pure[0]
    assert "0.076" not in reducible[0]
    assert "0.339" in reducible[0]
    assert "0.339" not in pure[0]


def test_two_reports_of_the_same_data_differ_in_the_date_line_alone(
    written: str, tmp_path: Path
) -> None:
    again = write(tmp_path, "2026-02-02")
    lines = zip(written.splitlines(), again.splitlines(), strict=True)
    different = [pair for pair in lines if pair[0] != pair[1]]
    assert different == [
        tuple(f'<p class="date">Written on {date}.</p>' for date in ("2026-01-01", "2026-02-02"))
    ]


def test_markdown_has_the_tables_and_names_the_figures(tmp_path: Path) -> None:
    runs = demo_runs()
    path = report(runs, tmp_path / "r.md", title="A | b", **FEW)  # type: ignore[arg-type]
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# A \\| b\n")
    assert "| :--" in text
    assert runs.hash in text
    assert "<svg" not in text
    assert text.count("*Figure, in the HTML form") == len(FIGURES) - 1
    assert "10 times the largest run (no target was given)" in text.replace("\\", "")


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        (demo_runs()[:2], "cannot fix 5 coefficients"),
        (demo_runs()[demo_runs().n == demo_runs().n[0]], "all runs have the same n"),
        (
            Runs(n=[1e6] * 9, d=np.geomspace(1e6, 1e8, 9), loss=[3.0] * 9),
            "every run has the same loss",
        ),
    ],
    ids=["two", "one size", "one loss"],
)
def test_what_the_runs_do_not_allow_is_said_and_the_rest_stands(
    runs: Runs, said: str, tmp_path: Path
) -> None:
    path = report(runs, tmp_path / "r.html", **FEW)  # type: ignore[arg-type]
    page = Page(path.read_text(encoding="utf-8"))
    assert "These runs do not say." in page.text
    assert said in page.text
    assert runs.hash in page.text
    assert {"loss-compute", "loss-resources"} <= set(page.ids)
    assert "Traceback" not in page.text


def test_a_table_without_curves_counts_or_budgets_is_enough(tmp_path: Path) -> None:
    path = report(plain_runs(), tmp_path / "r.html", target_flops=1e22, **FEW)  # type: ignore[arg-type]
    text = Page(path.read_text(encoding="utf-8")).text
    assert "No learning curves: the table holds one loss per run." in text
    assert "Kaplan 2020" in text
    assert "The same budget by the published laws" in text
    assert "spread of seeds is not known" in text


def test_a_wrong_call_is_one_line_and_leaves_the_old_file(tmp_path: Path) -> None:
    runs, old = plain_runs(), tmp_path / "old.html"
    old.write_text("old", encoding="utf-8")
    for path, more in (
        (tmp_path / "r.pdf", {}),
        (tmp_path / "nowhere" / "r.html", {}),
        (old, {"target_flops": -1.0}),
        (old, {"target_flops": 1e3}),
        (old, {"target_flops": 1e40}),
        (old, {"target_flops": float("nan")}),
        (old, {"form": PowerLaw}),
    ):
        with pytest.raises(InputError) as error:
            report(runs, path, **more)  # type: ignore[arg-type]
        assert "\n" not in str(error.value)
    folder = tmp_path / "folder.html"
    folder.mkdir()
    with pytest.raises(InputError, match="folder"):
        report(runs, folder)
    assert old.read_text(encoding="utf-8") == "old"


def test_a_failure_while_writing_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.html"
    path.write_text("old", encoding="utf-8")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(InputError, match="No space left"):
        report(plain_runs(), path, **FEW)  # type: ignore[arg-type]
    assert path.read_text(encoding="utf-8") == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]
