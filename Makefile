# demo       train a small sweep on real text, forecast, check the forecast, write demo/report.html
# test       set up, lint, type-check, and run the fast tests
# test-full  set up an environment of its own and run every test
# bench      print and append the benchmark tables
# validate   the studies behind intervals, forecasts and the demo, hours; their tables are committed
# docs       build docs/_build/html
# clean      remove what the other targets made, except demo/
#
# Variables: PYTHON (3.11 or newer), VENV (a folder this Makefile owns and may rebuild), PIP_ARGS
# (handed to pip: on Linux without a GPU, point it at PyTorch's CPU wheels; see README.md),
# PYTEST_ARGS (handed to pytest).

PYTHON ?= python3
VENV ?= .venv
VENV_FULL ?= .venv-full
VENV_DOCS ?= .venv-docs
PIP_ARGS ?=
PYTEST_ARGS ?=

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.PHONY: demo test test-full bench validate docs clean

# $(call install,FOLDER,REQUIREMENTS): make the environment if need be and install into it.
# `.installing` stands while pip runs; where it is found, an earlier install was cut short and may
# have left half a package behind, so the environment is made anew. A folder with files in it is
# cleared only if it is a virtual environment.
define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "isoloss needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@if [ ! -e $(1)/pyvenv.cfg ] && [ -n "$$(find $(1) -type f -print -quit 2>/dev/null)" ]; then \
	  echo "$(1) exists and is not a virtual environment: name another with VENV=" >&2; exit 1; fi
	@if [ -e $(1)/.installing ] || ! $(1)/bin/python -m pip --version >/dev/null 2>&1; then \
	  $(PYTHON) -m venv --clear $(1); fi
	@touch $(1)/.installing
	$(1)/bin/python -m pip install --disable-pip-version-check $(PIP_ARGS) -c constraints.txt $(2)
	@rm $(1)/.installing
	@touch $@
endef

# What an install depends on.
PINS := pyproject.toml constraints.txt

$(VENV)/.test-ready: $(PINS)
	$(call install,$(VENV),-e '.[dev]')
	@touch $(VENV)/.demo-ready

$(VENV)/.demo-ready: $(PINS)
	$(call install,$(VENV),-e '.[all]')

$(VENV_FULL)/.full-ready: $(PINS) tests/requirements-full.txt docs/requirements.txt
	$(call install,$(VENV_FULL),-e '.[dev]' -r tests/requirements-full.txt -r docs/requirements.txt)

$(VENV_DOCS)/.docs-ready: $(PINS) docs/requirements.txt
	$(call install,$(VENV_DOCS),-e '.[figures]' -r docs/requirements.txt)

demo: $(VENV)/.demo-ready
	$(VENV)/bin/python -m isoloss demo demo

test: $(VENV)/.test-ready
	$(VENV)/bin/python -m ruff check .
	$(VENV)/bin/python -m ruff format --check .
	$(VENV)/bin/python -m mypy
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)

test-full: $(VENV_FULL)/.full-ready
	$(VENV_FULL)/bin/python -m pytest --full $(PYTEST_ARGS)

bench: $(VENV)/.test-ready
	@for name in startup kernels train_speed train_memory sweep_scaling gpu noise_meter fit_speed \
	    plan_speed; do \
	  echo "== $$name"; $(VENV)/bin/python benchmarks/$$name.py || exit 1; done

validate: $(VENV)/.test-ready
	@for name in extrapolation curve_forecast compare_coverage interval_coverage few_runs \
	    next_runs demo_regime demo_tally trunk_cooldown tokenising noise_coverage; do \
	  echo "== $$name"; $(VENV)/bin/python benchmarks/$$name.py || exit 1; done

docs: $(VENV_DOCS)/.docs-ready
	$(VENV_DOCS)/bin/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

clean:
	rm -rf build dist docs/_build .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src tests benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} +
	@for folder in $(VENV) $(VENV_FULL) $(VENV_DOCS); do \
	  if [ -e "$$folder/pyvenv.cfg" ]; then rm -rf "$$folder"; fi; done
