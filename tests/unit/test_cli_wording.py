"""A message of the library in the words of the shell."""

from __future__ import annotations

import pytest

from isoloss.cli.wording import in_options
from isoloss.errors import argument


@pytest.mark.parametrize(
    ("library", "shell"),
    [
        (
            "leave them out with drop_invalid=True (--drop-invalid)",
            "leave them out with --drop-invalid",
        ),
        ('say which, such as x="n" (--x n)', "say which, such as --x n"),
        (
            'name it with columns={"a": "B", "c": "D"} (--columns a=B,c=D) if so',
            "name it with --columns a=B,c=D if so",
        ),
        ("a number, or None (--delta 0) for squares", "a number, or --delta 0 for squares"),
        (
            "count them alike with .counted(..., flops=...) (--c 6nd)",
            "count them alike with --c 6nd",
        ),
        (argument("max_tokens") + " is 7: raise it", "--max-tokens is 7: raise it"),
        ("loss_unit= (--loss-unit) is 'foo'", "--loss-unit is 'foo'"),
        ("run 3 (n 2B, d 4B) lies off (--not an option of it)", None),
        ("a table of n= and d=, as f(x) has them", None),
    ],
)
def test_an_argument_gives_way_to_its_option(library: str, shell: str | None) -> None:
    assert in_options(library) == (library if shell is None else shell)
