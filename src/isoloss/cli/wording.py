"""What the library says, in the words of the shell.

A message of the library that asks for an argument names the option beside it, `drop_invalid=True
(--drop-invalid)`, in that form everywhere; who works at the command line reads the option alone.
"""

from __future__ import annotations

import re

_ARGUMENT = re.compile(
    r"""(?:\b\w+=(?:\{[^{}]*\}|"[^"]*"|'[^']*'|[^\s{"'()]*)|\bNone|\.\w+\([^()]*\))"""
    r"""\s\((--[^()]+)\)"""
)


def in_options(message: str) -> str:
    """Put the option in the place of every argument that has one beside it."""
    return _ARGUMENT.sub(r"\1", message)
