"""Byte-level BPE by the `tokenizers` library: learnt from a sample, and encoding each word once.

The library splits a text into words by GPT-2's pattern and merges the bytes of each word by itself,
so a word's ids do not depend on what stands around it. Text repeats its words: splitting it here
and asking the library only about words not met before gives the same ids ten times as fast. Here
means where the pattern needs no tables of Unicode: in runs of printable ASCII. A stretch with any
other character goes to the library whole, from one place that the pattern always cuts at (white
space after something that is none) to the next.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from isoloss.errors import InputError
from isoloss.lab.corpus.text_files import SEPARATOR_LINE
from isoloss.lab.tokens.tokenizing import BYTE_SEPARATOR

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_SEPARATOR = bytes([BYTE_SEPARATOR])
_MOST_WORDS = 1 << 18  # remembered: about 40 MB
_LONGEST_WORD = 64  # bytes; longer ones hardly come twice
_CHECKED = 1 << 16  # bytes of the first text, encoded in both ways


class Encoder:
    """Turns text into 16-bit ids as the tokenizer does, remembering the words it has met."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        separator = cast(int, tokenizer.token_to_id(SEPARATOR_LINE))
        self._known = {_SEPARATOR: np.array(separator, "<u2").tobytes()}
        self._splits: bool | None = None  # unknown until it was checked

    def encode(self, text: bytes) -> bytes:
        """The ids of documents in UTF-8, each followed by 0xFF, as little-endian 16-bit numbers.

        A document may be cut in two at a place that `safe_end` gives.
        """
        if self._splits is None:
            self._splits = self._agrees(text)
        if len(self._known) > _MOST_WORDS:
            self._known = {_SEPARATOR: self._known[_SEPARATOR]}
        known = self._known.__getitem__
        *documents, last = text.split(_SEPARATOR)
        parts = [self._split(document, _SEPARATOR) for document in documents]
        parts.append(self._split(last))  # of a document that goes on, or nothing
        ids: list[bytes] = []
        waiting: list[int] = []
        new: set[bytes] = set()
        for number, words in enumerate(parts):
            try:
                ids.append(b"".join(map(known, words)))
            except KeyError:
                ids.append(b"")
                waiting.append(number)
                new |= set(words).difference(self._known)
        asked = list(new)
        self._known.update(zip(asked, self._ask(asked), strict=True))
        for number in waiting:
            ids[number] = b"".join(map(known, parts[number]))
        for word in asked:
            if len(word) > _LONGEST_WORD:
                del self._known[word]
        return b"".join(ids)

    def _split(self, text: bytes, *end: bytes) -> list[bytes]:
        if self._splits:
            return [*split_words(text), *end]
        return [text, *end] if text else [*end]

    def _ask(self, texts: list[bytes]) -> Iterator[bytes]:
        given = [text.decode("utf-8") for text in texts]
        for encoding in self._tokenizer.encode_batch_fast(given, add_special_tokens=False):
            yield np.array(encoding.ids, "<u2").tobytes()

    def _agrees(self, text: bytes) -> bool:
        """Whether splitting gives the library's own ids on the first text that comes."""
        parts = [part for part in text[: safe_end(text[:_CHECKED])].split(_SEPARATOR) if part]
        words = [split_words(part) for part in parts]
        whole = list(self._ask(parts))
        return whole == [b"".join(self._ask(of_part)) for of_part in words]


def split_words(text: bytes) -> list[bytes]:
    """Split a text as GPT-2's pattern does, but for stretches with other than printable ASCII.

    Those come whole, from one place that the pattern always cuts at to the next.
    Source: Radford et al. 2019, `encoder.py` of their release (the pattern).
    """
    if _OTHER.search(text) is None:
        return _WORD.findall(text)
    words: list[bytes] = []
    for stretch in _STRETCH.finditer(text):
        if stretch.lastgroup == "plain":
            words += _WORD.findall(stretch[0])
        else:
            words.append(stretch[0])
    return words


def safe_end(text: bytes) -> int:
    """Where text can be cut without changing its ids: after the last separator, else the last word.

    Returns 0 where it cannot be cut.
    """
    end = text.rfind(_SEPARATOR) + 1
    if end:
        return end
    found = _SPACE_FROM_END.search(text[::-1])
    return len(text) - found.start() if found else 0


def train_bpe(texts: Iterable[str], vocab: int) -> Tokenizer:
    """Learn a byte-level BPE of `vocab` tokens, the separator among them, from texts."""
    library = tokenizers_library()
    tokenizer: Tokenizer = library.Tokenizer(library.models.BPE())
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=[SEPARATOR_LINE],
        initial_alphabet=sorted(library.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.encode_special_tokens = True
    return tokenizer


def load_bpe(path: Path) -> Tokenizer:
    """Open a tokenizer.json; raises InputError where `tokenizers` is not installed."""
    library = tokenizers_library()
    try:
        tokenizer: Tokenizer = library.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare exceptions
        reason = str(error).split("\n")[0]
        raise InputError(f"{path} is damaged ({reason}); prepare the tokens again") from None
    tokenizer.encode_special_tokens = True
    return tokenizer


def tokenizers_library() -> Any:
    """The `tokenizers` library; raises InputError where it is not installed."""
    try:
        import tokenizers
        import tokenizers.decoders
        import tokenizers.models
        import tokenizers.pre_tokenizers
        import tokenizers.trainers
    except ImportError:
        raise InputError(
            "byte-level BPE needs the `tokenizers` library: pip install tokenizers, "
            "or use the tokenizer `bytes`"
        ) from None
    return tokenizers


_OTHER = re.compile(rb"[^\t\n\r -~]")
_WORD = re.compile(
    rb"'(?:[stmd]|re|ve|ll)| ?[A-Za-z]+| ?[0-9]+| ?[!-/:-@\[-`{-~]+"
    rb"|[\t\n\r ]+(?![!-~])|[\t\n\r ]+"
)
# A character that is surely no white space, seen from behind: printable ASCII, or one in UTF-8 that
# begins with no byte that white space begins with (C2, E1, E2 and E3).
_SOLID = (
    rb"(?:(?<=[!-~])|(?<=[\xc3-\xdf][\x80-\xbf])"
    rb"|(?<=[\xe0\xe4-\xef][\x80-\xbf]{2})|(?<=[\xf0-\xf4][\x80-\xbf]{3}))"
)
_STRETCH = re.compile(
    rb"(?P<plain>(?:[\t\n\r ]*+[!-~]++(?![^\t\n\r ]))++)"
    rb"|(?P<other>.+?" + _SOLID + rb"(?=[\t\n\r ])|.+)",
    re.DOTALL,
)
_SPACE_FROM_END = re.compile(rb"(?<=[\t\n\r ])(?=[!-~])")
