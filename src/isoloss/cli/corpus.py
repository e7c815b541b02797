"""`isoloss corpus`: text to train on, listed, fetched, and turned into token ids."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter, validators

from isoloss.cli.options import Count, Json
from isoloss.cli.output import emit_json, plain, say, show, table
from isoloss.cli.progress import progress
from isoloss.units import format_number

app = App(name="corpus", help="List, fetch and tokenize text to train on.")

_ORIGINS = {
    "none": "this Python",
    "pip": "PyPI",
    "npm": "npm",
    "apt": "Debian",
    "hub": "Hugging Face",
}


@app.command(name="list")
def list_entries(*, json: Json = False) -> None:
    """List the corpora anyone can have, with licence, size and origin."""
    from isoloss.lab.corpus.catalogue import entries

    if json:
        keys = ("name", "what", "licence", "client", "packages", "download_mb", "text_mb")
        emit_json([{key: plain(getattr(entry, key)) for key in keys} for entry in entries()])
        return
    rows = [
        (e.name, f"{e.text_mb:g}", _ORIGINS[e.client], f"{e.what} ({e.licence})") for e in entries()
    ]
    show(table("name", ">MB", "from", "text (licence)", rows=rows))


@app.command
def fetch(
    name: Annotated[str, Parameter(help="A name from `isoloss corpus list`.")],
    *,
    folder: Annotated[
        Path | None, Parameter(help="Where to keep it; the user's cache without it.")
    ] = None,
    json: Json = False,
) -> None:
    """Fetch a corpus with the ecosystem's own client, clean it, and keep it.

    What was fetched before is not fetched again. Another version or hash than the catalogue's
    is a warning: the text may differ from what others measured.
    """
    from isoloss.lab.corpus.catalogue import fetch as fetch_entry

    with progress() as report:
        fetched = fetch_entry(name, folder, report)
    for warning in fetched.warnings:
        say(f"warning: {warning}")
    if json:
        emit_json(fetched)
    else:
        print(
            f"{name} ({fetched.version}): {fetched.documents:,} documents, "
            f"{format_number(fetched.bytes)} bytes, in {fetched.path}"
        )


@app.command
def pack(
    folder: Annotated[Path, Parameter(help="Token ids that `isoloss corpus prepare` made.")],
    file: Annotated[Path, Parameter(help="The file to write, a .zip.")],
) -> None:
    """Pack token ids into one file, which any --tokens takes as it takes the folder."""
    from isoloss.lab.tokens.pack import pack_tokens

    print(pack_tokens(folder, file))


@app.command
def prepare(
    source: Annotated[
        str, Parameter(help="A file, folder, glob, .jsonl, a name from the list, or hf:NAME.")
    ],
    folder: Annotated[Path, Parameter(help="Where the token ids go.")],
    *,
    tokenizer: Annotated[str, Parameter(help="bytes, or bpe:V for V tokens.")] = "bytes",
    val_fraction: Annotated[
        float,
        Parameter(help="Share of the text held out.", validator=validators.Number(gt=0, lte=0.5)),
    ] = 0.05,
    workers: Annotated[
        Count | None, Parameter(help="Processes that tokenize with BPE; all cores without it.")
    ] = None,
    json: Json = False,
) -> None:
    """Turn text into token ids, split into training and held-out documents.

    A folder that holds the ids of the same text already is left as it is, and a call that was
    stopped goes on when it is made again.
    """
    from isoloss.lab.tokens import prepare as prepare_tokens

    with progress() as report:
        made = prepare_tokens(
            source,
            folder,
            tokenizer=tokenizer,
            val_fraction=val_fraction,
            workers=workers,
            progress=report,
        )
    found: dict[str, Any] = {
        "folder": folder,
        "name": made.name,
        "hash": made.hash,
        "tokenizer": made.tokenizer,
        "vocab": made.vocab,
        "bytes_per_token": made.bytes_per_token,
        "train_tokens": len(made.train),
        "val_tokens": len(made.val),
        "val_documents": len(made.val_documents) - 1,
    }
    if json:
        emit_json(found)
    else:
        print(
            f"{made.name}: {len(made.train):,} tokens to train on, {len(made.val):,} held out "
            f"({made.tokenizer}, {made.bytes_per_token:.3f} bytes per token), in {folder}"
        )
        print(f"hash {made.hash}")
