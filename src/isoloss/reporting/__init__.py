"""One file, HTML or Markdown, that says what to train, how sure that is, and what it rests on."""

from isoloss.reporting.compose import report

__all__ = ["report"]
