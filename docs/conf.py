"""How Sphinx builds these pages: MyST Markdown, examples executed, warnings are errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import isoloss

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "isoloss"
author = "The isoloss developers"
copyright = "The isoloss developers, Apache-2.0"
version = release = isoloss.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.mathjax"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_execution_in_temp = True

autodoc_member_order = "groupwise"
autodoc_typehints = "none"
autodoc_mock_imports = ["torch", "transformers", "lightning"]  # pages are made without them

html_theme = "furo"
html_title = f"isoloss {version}"
exclude_patterns = ["_build", "requirements.txt"]


def as_written(
    app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]
) -> None:
    """Show a docstring as it stands: ours are plain text with formulas, not reStructuredText."""
    if any(lines):
        lines[:] = ["::", "", *(f"   {line}" for line in lines), ""]


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", as_written)
