"""Other corpora that a run is evaluated on: text it is not trained on, as ids of its tokenizer.

A name in `RunSpec.eval_corpora` is a corpus as `corpus` names it, or the folder of a token set. A
corpus is tokenized as the training text was, with the very vocabulary of it, and split by the same
rule; what is held out of it serves the evaluation, and the rest is not read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from isoloss.errors import InputError, UsageError
from isoloss.lab.corpus.clients import Progress
from isoloss.lab.tokens import TokenSet, load_tokens, prepare
from isoloss.lab.tokens.index import TOKENIZER
from isoloss.lab.tokens.remote import remote_url
from isoloss.lab.tokens.sources import is_token_source
from isoloss.lab.tokens.tokenizing.shards import hash_file
from isoloss.runs import RunSpec

FOLDER = "eval-tokens"


def prepare_eval_sets(
    specs: Sequence[RunSpec],
    tokens: TokenSet,
    folder: Path,
    *,
    given: Mapping[str, str | Path] | None = None,
    progress: Progress | None = None,
) -> dict[str, TokenSet]:
    """Open or make the token set of every corpus that the runs are evaluated on, by its name.

    tokens: the training set, whose tokenizer all have. folder: of the records; sets that are made
    lie in its `eval-tokens`. given: token sets, folders or packed, by the names in the specs.
    Returns the sets; empty where no run asks for any.
    Raises InputError for a corpus that is not there or of another tokenizer, and for folders given
    that no run asks for.
    """
    given = given or {}
    names = list(dict.fromkeys(name for spec in specs for name in spec.eval_corpora))
    for name in given:
        if name not in names:
            asked = ", ".join(names) or "none"
            raise InputError(f"no run has {name!r} among its eval_corpora (they name: {asked})")
    found: dict[str, TokenSet] = {}
    for name in names:
        source = given.get(name, name)
        ids = is_token_source(Path(source))
        in_place = Path(source).is_dir() if ids else name in given
        if in_place or remote_url(source) is not None:
            found[name] = load_tokens(source, progress=progress)
        else:
            # A corpus name may hold slashes; its hash keeps two of them apart.
            own = hashlib.sha256(name.encode()).hexdigest()[:8]
            slug = "".join(c if c.isalnum() or c in "-_" else "-" for c in name)[-40:]
            place = folder / FOLDER / f"{slug}-{own}"
            place.parent.mkdir(parents=True, exist_ok=True)
            found[name] = prepare(source, place, tokenizer=tokens, progress=progress)
    for spec in specs:
        check_eval_sets(spec, tokens, found)
    return found


def parse_folders(texts: Iterable[str]) -> dict[str, str]:
    """Read `NAME=FOLDER` texts, as the command line has them; UsageError for another form."""
    found: dict[str, str] = {}
    for text in texts:
        name, mark, folder = text.partition("=")
        if not (name and mark and folder) or name in found:
            raise UsageError(f"--eval-tokens {text!r} is not NAME=FOLDER, each name once")
        found[name] = folder
    return found


def check_eval_sets(
    spec: RunSpec, tokens: TokenSet, eval_sets: Mapping[str, TokenSet]
) -> dict[str, TokenSet]:
    """Return the sets that a run is evaluated on, in its order.

    Raises InputError naming one that is missing, or whose ids are not those of the run's tokenizer.
    """
    for name in spec.eval_corpora:
        if name not in eval_sets:
            raise InputError(
                f"run {spec.run_id} is to be evaluated on {name!r} too, and no token set of that "
                "name is given: pass eval_sets={...}, as prepare_eval_sets() returns it"
            )
        other = eval_sets[name]
        if other.vocab > spec.shape.vocab or not _same_tokenizer(tokens, other):
            raise InputError(
                f"{name!r} was tokenized by {other.tokenizer} ({other.vocab} ids), and "
                f"{tokens.name!r} by {tokens.tokenizer} of its own ({tokens.vocab}): their losses "
                "do not compare; prepare it with tokenizer= that token set"
            )
    return {name: eval_sets[name] for name in spec.eval_corpora}


def _same_tokenizer(one: TokenSet, other: TokenSet) -> bool:
    """Whether two sets number the same pieces of text alike, as far as they say."""
    if one.tokenizer != other.tokenizer:
        return False
    files = [tokens.folder / TOKENIZER for tokens in (one, other)]
    if not all(path.is_file() for path in files):
        return not any(path.is_file() for path in files)
    return hash_file(files[0]) == hash_file(files[1])
