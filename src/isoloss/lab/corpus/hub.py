"""Datasets of the Hugging Face hub, streamed through the `datasets` library (extra `hub`)."""

from __future__ import annotations

from collections.abc import Iterator

from isoloss.errors import InputError
from isoloss.lab.corpus.text_files import Document


def is_hub_name(name: str) -> bool:
    """Whether a source is written as a dataset of the hub, `hf:NAME`."""
    return name.startswith("hf:")


def read_hub(name: str) -> Iterator[Document]:
    """Stream a dataset's training split."""
    try:
        import datasets
    except ImportError:
        raise InputError(
            f"reading {name} needs the `datasets` library: pip install 'isoloss[hub]'"
        ) from None
    for number, row in enumerate(
        datasets.load_dataset(name.removeprefix("hf:"), split="train", streaming=True)
    ):
        yield Document(str(row["text"]), str(number), str(number))
