"""A run by its losses on another corpus: the same record, measured elsewhere."""

from __future__ import annotations

from dataclasses import replace

from isoloss.errors import InputError
from isoloss.runs.record import Run


def on_corpus(run: Run, corpus: str) -> Run:
    """Return the record with the losses on one of its eval_corpora in place of its own.

    Points that were not measured there are left out, and so are final losses by position and
    document on other texts. Training losses stay. A run that diverged has no final losses.
    Raises InputError naming the corpora that there are.
    """
    names = [str(name) for name in run.spec.get("eval_corpora", ())]
    if corpus not in names:
        raise InputError(
            f"the run {run.run_id} was not evaluated on {corpus!r}, but on "
            f"{', '.join(map(repr, names)) or 'its own text alone'}"
        )
    points = tuple(
        replace(point, loss=other.loss, se=other.se, others=())
        for point in run.points
        for other in point.others
        if other.corpus == corpus
    )
    held_out = tuple(one for one in run.held_out[1:] if one.corpus == corpus)
    end = run.end
    if end is not None and held_out:
        there = held_out[0]
        end = replace(
            end,
            loss=there.loss,
            se=there.se,
            bits_per_byte=there.bits_per_byte,
            eval_tokens=there.tokens,
            eval_documents=len(there.documents),
        )
    return replace(run, points=points, held_out=held_out, end=end)
