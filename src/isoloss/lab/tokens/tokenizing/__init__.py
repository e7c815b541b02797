"""Text to ids, as a stream: no more of a corpus is in memory than a few blocks of it.

Documents come one by one, are laid in one file on disk (`spool`), split into two sides, and turned
into ids shard by shard (`shards`), in as many processes as there are cores (`pool`, `worker`). What
comes out does not depend on how many, nor, but for where one file ends and the next begins, on the
size of a shard.

Every document is followed by a separator. For bytes it is 255 (0xFF), which never occurs in UTF-8,
so that the vocabulary is 256 and no document can contain it. For BPE it is the token
`<|endoftext|>`, number 0; the same characters in a document are tokenized as ordinary text.
"""

from __future__ import annotations

import re

from isoloss.errors import InputError

BYTE_SEPARATOR = 0xFF
BYTE_VOCAB = 256
LEAST_BPE, LARGEST_BPE = 257, 1 << 16
"""Vocabulary of a byte-level BPE: the bytes and the separator, up to what 16 bits hold."""


def parse_tokenizer(name: str) -> int | None:
    """Read `bytes` (None) or `bpe:V` (the vocabulary V); raises InputError for anything else."""
    if name == "bytes":
        return None
    match = re.fullmatch(r"bpe:(\d+)", name)
    if match is None:
        raise InputError(f"unknown tokenizer {name!r}; write bytes, or bpe:1024 for byte-level BPE")
    vocab = int(match[1])
    if not LEAST_BPE <= vocab <= LARGEST_BPE:
        raise InputError(
            f"a byte-level BPE of {vocab:,} tokens is out of range; "
            f"write bpe:V with V from {LEAST_BPE} to {LARGEST_BPE:,}"
        )
    return vocab
