"""Text to train on: from files, folders, the catalogue or the hub, to documents split in two.

- `documents`      what a user names, to documents
- `catalogue`      the corpora anyone can have, with licence, size, version and hash
- `text_files`     plain text and JSON lines
- `split`          which documents are held out
No module here needs torch.
"""

from __future__ import annotations

from isoloss.lab.corpus.catalogue import Entry, entries
from isoloss.lab.corpus.documents import read_documents
from isoloss.lab.corpus.split import choose_validation
from isoloss.lab.corpus.text_files import Document

__all__ = ["Document", "Entry", "choose_validation", "entries", "read_documents"]
