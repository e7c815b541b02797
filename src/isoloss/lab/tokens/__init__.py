"""Token ids on disk: one array of them to train on and one held out.

A token set is a folder:

    train.bin, val.bin   ids, uint8 for bytes and uint16 for anything larger, little-endian; of a
                         large corpus train-00000.bin and so on, each of about 64 MB of text
    val_documents.npy    int64, where each held-out document starts, and the end of the last
    meta.json            the index: name, hash, vocabulary, tokenizer, sizes, source, and of every
                         file its size and hash (`index`)
    tokenizer.json       for byte-level BPE, as the `tokenizers` library writes it

How text becomes ids, and what separates documents, is said in `tokenizing`; ids that others made
are read by `sources`, ids that lie elsewhere are copied by `remote`. The folder is built
under a temporary name and renamed when whole, so a folder of this name is complete; one damaged all
the same (sizes or hash that do not fit) is built again by `prepare` and refused by `load_tokens`.
Building that was killed goes on where it was.
"""

from __future__ import annotations

from isoloss.lab.tokens.prepare import prepare
from isoloss.lab.tokens.token_set import TokenSet, check_corpus, load_tokens, training_part

__all__ = ["TokenSet", "check_corpus", "load_tokens", "prepare", "training_part"]
