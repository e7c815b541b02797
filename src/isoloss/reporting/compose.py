"""One file that says what to train, how sure that is, and what it rests on.

An HTML page with everything inside it, or Markdown (text and tables) if the path ends in .md. Two
reports of the same data, made with the same arguments, differ in their date line alone.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path

from isoloss.errors import InputError, argument
from isoloss.figures import loss_unit
from isoloss.files import write_whole
from isoloss.laws import Chinchilla, Cost, Law
from isoloss.planning import published_plans
from isoloss.planning.budget import LEAST_FLOPS, MOST_FLOPS
from isoloss.reporting import pictures, tables, wording
from isoloss.reporting.document import Block, Code, Document, Paragraph, Points, Section, Table
from isoloss.reporting.evidence import Evidence, gather
from isoloss.reporting.html import to_html
from isoloss.reporting.markdown import to_markdown
from isoloss.reporting.summary import summary
from isoloss.runs import Runs, versions
from isoloss.trust import Forecast, Outcome
from isoloss.units import plural

# Below this the papers' constants are asked about models they never saw anything like.
_LEAST_PUBLISHED = 1e18

_DOUBT = (
    "What the intervals of coefficients hold: the uncertainty that the runs show. What they do not "
    "hold: that the law itself may be wrong beyond the runs. The intervals of a new run's loss are "
    "those of the forecast model, which allows for that; the back-test shows how it did."
)


def report(
    runs: Runs,
    path: str | Path,
    *,
    target_flops: float | None = None,
    outcomes: Sequence[Outcome] | None = None,
    forecasts: Sequence[Forecast] | None = None,
    command: str | None = None,
    form: type[Law] = Chinchilla,
    seed: int = 0,
    draws: int = 1000,
    title: str | None = None,
    cost: Cost | None = None,
    date: str | None = None,
) -> Path:
    """Write a report on runs: the plan, the checks, the law, the figures, the exponents.

    runs: m runs, best with `curves` and `counts`. path: ends in .html or .md.
    target_flops: the budget to plan for, as the runs count FLOPs; default ten times the largest.
    outcomes: forecasts with what was measured. forecasts: those still waiting.
    command: what made this report, printed in it. form: the law of (n, d) to fit.
    seed, draws: of the bootstrap. title, date: of the page; the date defaults to today's.
    cost: n -> training FLOPs per token; default what the runs themselves paid.
    Returns the path. Raises InputError for a wrong path, target or form. A part that the runs do
    not allow says so in one line, and the rest stands; a file that was there stays whole until the
    new one is complete.
    """
    path = _checked_path(path)
    if target_flops is not None:
        _refuse_target(target_flops)
    if getattr(form, "variables", None) != ("n", "d"):
        raise InputError("a report needs a law of (n, d), such as Chinchilla")
    evidence = gather(
        runs,
        form,
        target_flops=target_flops,
        cost=cost,
        outcomes=outcomes or (),
        forecasts=forecasts or (),
        draws=draws,
        seed=seed,
    )
    document = Document(
        title=title or f"Scaling report on {plural(len(runs), 'run')}",
        subtitle=_subtitle(runs),
        date=f"Written on {date or datetime.date.today().isoformat()}.",
        sections=_sections(evidence, command, seed, draws),
    )
    write = to_markdown if path.suffix == ".md" else to_html
    write_whole(path, write(document))
    return path


def _refuse_target(flops: float) -> None:
    """Raise InputError for a target that no plan is made for: the page could only say so."""
    if not LEAST_FLOPS <= flops <= MOST_FLOPS:
        raise InputError(
            f"{argument('target_flops')} is {flops:g}; give the FLOPs of a run, {LEAST_FLOPS:g} to "
            f"{MOST_FLOPS:g}, such as 1e21"
        )


def _sections(
    evidence: Evidence, command: str | None, seed: int, draws: int
) -> tuple[Section, ...]:
    forecasts: tuple[Block, ...] = ()
    if evidence.outcomes or evidence.pending:
        forecasts = (pictures.forecast_figure(evidence), tables.forecast_table(evidence))
    return (
        Section("Summary", summary(evidence)),
        Section(
            "What to train",
            (
                tables.plan_table(evidence),
                pictures.contour_figure(evidence),
                *_published(evidence),
                *_plan_notes(evidence),
            ),
        ),
        Section(
            "How sure", (*forecasts, pictures.backtest_figure(evidence), Paragraph(_DOUBT, True))
        ),
        Section(
            "The runs and the law",
            (
                pictures.compute_figure(evidence),
                pictures.resource_figure(evidence),
                tables.coefficient_table(evidence.main),
                pictures.residual_figure(evidence),
            ),
        ),
        Section(
            "The best size without a law",
            (
                pictures.isoflop_figure(evidence),
                *_mends(evidence),
                pictures.curves_figure(evidence),
            ),
        ),
        Section(
            "Exponents beside the papers",
            (
                Paragraph(
                    "Two kinds of exponent that must not be compared with each other: those of "
                    "pure power laws, which fall for ever, and those of the part of the loss "
                    "above a floor."
                ),
                tables.pure_table(evidence),
                tables.reducible_table(evidence),
            ),
        ),
        Section(
            "How the answer moves with the way of counting",
            (tables.counting_table(evidence), tables.conventions_table(evidence)),
        ),
        Section("About this report", _about(evidence, command, seed, draws)),
    )


def _published(evidence: Evidence) -> tuple[Block, ...]:
    if evidence.target < _LEAST_PUBLISHED:
        return ()
    return (tables.published_table(published_plans(evidence.target), evidence.main.plan),)


def _plan_notes(evidence: Evidence) -> tuple[Block, ...]:
    notes = getattr(evidence.main.plan, "notes", ())
    return (Points(tuple(notes)),) if notes else ()


def _mends(evidence: Evidence) -> tuple[Block, ...]:
    """What would mend each refused budget."""
    budgets = getattr(evidence.isoflop, "budgets", ())
    lines = tuple(
        f"{wording.flops(budget.c)} FLOPs is refused: {budget.reason}; to mend it, {budget.mend}"
        for budget in budgets
        if not budget.usable
    )
    return (Points(lines),) if lines else ()


def _about(evidence: Evidence, command: str | None, seed: int, draws: int) -> tuple[Block, ...]:
    runs = evidence.main.runs
    rows = [
        ("runs", f"{len(runs)}, from {runs.source or 'a table in memory'}"),
        ("parameters N", wording.count_name(runs.n_convention)),
        ("compute C", wording.cost_name(runs.c_convention)),
        ("loss", loss_unit(runs)),
        ("intervals", f"90 %, from {draws:,} bootstrap draws of whole runs, seed {seed}"),
        ("data, SHA-256 of n, d, c, loss", runs.hash),
        ("made with", ", ".join(f"{name} {number}" for name, number in _versions().items())),
    ]
    about = Table("What it rests on", ("", ""), tuple(rows), words=(1,))
    blocks: list[Block] = [about]
    if runs.notes:
        blocks += [Paragraph("Notes from reading the runs:"), Points(runs.notes)]
    if command:
        blocks += [Paragraph("The command that made it:"), Code(command)]
    blocks += [Paragraph("Papers compared with:", quiet=True), Points(tables.paper_citations())]
    return tuple(blocks)


def _versions() -> dict[str, str]:
    """Only what can change this page: whether torch happens to be loaded cannot."""
    import matplotlib

    known = versions()
    found = {name: known[name] for name in ("isoloss", "python", "numpy")}
    return {**found, "matplotlib": matplotlib.__version__}


def _subtitle(runs: Runs) -> str:
    sizes = wording.span(float(runs.n.min()), float(runs.n.max()), wording.count)
    tokens = wording.span(float(runs.d.min()), float(runs.d.max()), wording.count)
    compute = wording.span(float(runs.c.min()), float(runs.c.max()), wording.flops)
    return (
        f"{plural(len(runs), 'run')} of {sizes} parameters on {tokens} tokens, "
        f"{compute} FLOPs; data {runs.hash[:12]}"
    )


def _checked_path(path: str | Path) -> Path:
    path = Path(path)
    if path.suffix not in (".html", ".htm", ".md"):
        raise InputError(f"{path}: a report is written as .html or .md; give such a path")
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}; make it first")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give a file")
    return path
