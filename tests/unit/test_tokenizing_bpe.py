"""Words encoded once are the library's own ids, whatever the text and wherever it is cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from isoloss.lab.tokens.tokenizing.bpe import Encoder, safe_end, split_words, train_bpe

tokenizers = pytest.importorskip("tokenizers")

PROSE = (
    "They'll say it's the models' own doing; don't you think so? In 1984 we've had 12 of them,\n"
    "\tand  more   than that.\r\n\r\nCaf\xe9 na\xefve \u2014 \u201cquoted\u201d "
    "\u0440\u0443\u0441\u0441\u043a\u0438\u0439 \u8bed\u8a00 \U0001f600 def f(x): return x**2\n"
)
TEXTS = st.text(
    st.sampled_from(
        "aZt s'09.,<|>\n\r\t \x0b\x0c\x1c\x85\xa0\xad\xe9\u0301\u0660\u1680\u2003\u2028\u3000"
        "\ufeff\u0436\u4e2d\U0001f600\U00020000\x00\x7f"
    )
    | st.characters(exclude_categories=["Cs"]),
    max_size=60,
)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_bpe([PROSE * 3, "models of more text " * 9], 400)


def _library(tokenizer: Any, texts: list[str]) -> list[int]:
    found: list[int] = []
    for encoding in tokenizer.encode_batch(texts, add_special_tokens=False):
        found += [*encoding.ids, tokenizer.token_to_id("<|endoftext|>")]
    return found


def _ours(encoder: Encoder, text: bytes) -> list[int]:
    return np.frombuffer(encoder.encode(text), "<u2").tolist()


@settings(max_examples=400, deadline=None)
@given(texts=st.lists(TEXTS.filter(bool), min_size=1, max_size=4))
@example(
    texts=["a  b", "it's'x ''s 'S", "\n\n a\n", "  \n\u2003x", "a\xa0 b\x1c c", "x<|endoftext|>y"]
)
def test_the_ids_are_the_librarys(tokenizer: Any, texts: list[str]) -> None:
    raw = "".join(f"{text}\udcff" for text in texts).encode("utf-8", "surrogateescape")
    for encoder in (Encoder(tokenizer), Encoder(tokenizer)):
        encoder._splits = True  # the check of the first text would hide what this is to find
        assert _ours(encoder, raw) == _library(tokenizer, texts)
        assert _ours(encoder, raw) == _library(tokenizer, texts)  # with words remembered


@settings(max_examples=300, deadline=None)
@given(text=TEXTS, size=st.integers(1, 40))
def test_a_text_cut_where_it_may_be_gives_the_same_ids(
    tokenizer: Any, text: str, size: int
) -> None:
    encoder = Encoder(tokenizer)
    raw = f"{text} and some words".encode()
    found: list[int] = []
    held = b""
    for start in range(0, len(raw), size):
        held += raw[start : start + size]
        end = safe_end(held)
        found += _ours(encoder, held[:end])
        held = held[end:]
    assert found + _ours(encoder, held) == _library(tokenizer, [raw.decode()])[:-1]


def test_prose_is_split_into_words_that_come_again(tokenizer: Any) -> None:
    words = split_words(PROSE.encode())
    assert b"".join(words) == PROSE.encode()
    for word in (b" say", b"'ll", b" 1984", b"\t", b"  ", b" more", b" na\xc3\xafve", b"**"):
        assert word in words
    assert max(map(len, words)) < 40
    encoder = Encoder(tokenizer)
    encoder.encode(PROSE.encode())
    asked: list[list[bytes]] = []
    encoder._ask = lambda texts: asked.append(texts) or iter([])  # type: ignore[method-assign]
    encoder.encode(PROSE.encode())
    assert asked == [[]]


def test_what_is_remembered_is_bounded(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isoloss.lab.tokens.tokenizing.bpe._MOST_WORDS", 20)
    encoder = Encoder(tokenizer)
    for number in range(50):
        text = f"word{'abcdefghij'[number % 10]} {number} " + "x" * 100
        assert _ours(encoder, text.encode()) == _library(tokenizer, [text])[:-1]
    assert len(encoder._known) < 30
    assert max(map(len, encoder._known)) < 100


def test_a_library_that_splits_otherwise_is_asked_for_everything(tokenizer: Any) -> None:
    text = "models of more text models of more text"
    other = tokenizers.Tokenizer(tokenizers.models.BPE())
    other.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(
        add_prefix_space=False, use_regex=False
    )
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|endoftext|>"], show_progress=False
    )
    other.train_from_iterator([text] * 9, trainer)
    encoder = Encoder(other)
    assert _ours(encoder, text.encode()) == _library(other, [text])[:-1]
    assert encoder._splits is False


def test_text_that_cannot_be_cut_is_not(tokenizer: Any) -> None:
    assert safe_end(b"") == 0
    assert safe_end(b"abc") == 0
    assert safe_end("\u4e2d\u6587 \u4e2d".encode()) == 0
    assert safe_end(b"one two  three") == len(b"one two")
    assert safe_end(b"one\xfftwo three") == 4
