"""How Sphinx builds these pages: MyST Markdown, examples executed, warnings are errors."""

import isoloss

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

autodoc_typehints = "description"
autodoc_member_order = "bysource"

html_theme = "furo"
html_title = f"isoloss {version}"
exclude_patterns = ["_build", "requirements.txt"]
