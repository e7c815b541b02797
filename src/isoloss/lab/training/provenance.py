"""Which text a run was trained and evaluated on, as its record says, and whether it still is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isoloss.errors import InputError
from isoloss.lab.tokens import TokenSet, training_part
from isoloss.runs import Run, RunSpec


def corpus_facts(spec: RunSpec, tokens: TokenSet, others: Mapping[str, TokenSet]) -> dict[str, Any]:
    """The `corpus` of a record: the text, its hash and size, the part of it, the other texts."""
    part = training_part(spec, tokens)
    chosen: dict[str, Any] = {}
    if spec.unique_tokens:
        chosen["subset"] = {**part.meta["subset"], "hash": part.hash}
    if others:
        chosen["eval_corpora"] = {name: other.hash for name, other in others.items()}
    return {
        "name": tokens.name,
        "hash": tokens.hash,
        "tokens": len(tokens.train),
        "bytes_per_token": tokens.bytes_per_token,
        "tokenizer": tokens.tokenizer,
        "vocab": tokens.vocab,
        **chosen,
    }


def check_same_text(old: Run, tokens: TokenSet, others: Mapping[str, TokenSet], path: Path) -> None:
    """Raise InputError if the record of a run, at `path`, is of other texts than these."""
    known = old.corpus.get("eval_corpora", {})
    for name, other in others.items():
        if known.get(name) != other.hash:
            raise InputError(
                f"{path.name} was evaluated on another text as {name!r} (hash "
                f"{str(known.get(name))[:12]}, now {other.hash[:12]}): train into another folder"
            )
    if old.corpus.get("hash", tokens.hash) != tokens.hash:
        raise InputError(
            f"{path.name} was trained on the corpus {old.corpus['hash'][:12]}, and "
            f"{tokens.name!r} is {tokens.hash[:12]}: train into another folder"
        )
