"""`isoloss corpus`: text to train on, listed, fetched, and turned into token ids."""

from __future__ import annotations

from cyclopts import App

from isoloss.cli.options import Json
from isoloss.cli.output import emit_json, show, table

app = App(name="corpus", help="List, fetch and tokenize text to train on.")


@app.command(name="list")
def list_entries(*, json: Json = False) -> None:
    """List the corpora anyone can have, with licence, size and origin."""
    from isoloss.lab.corpus import entries

    found = entries()
    if json:
        emit_json(found)
        return
    show(
        table(
            "name",
            "what",
            "licence",
            ">MB",
            "from",
            rows=[(e.name, e.what, e.licence, f"{e.text_mb:g}", e.origin) for e in found],
        )
    )
