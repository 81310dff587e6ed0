# Two commands: `make demo` and `make test`. Everything they need is installed by them.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help test lint types

help: ## Show the targets.
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	@touch $@

test: $(VENV)/.ready ## Install what the tests need (database servers included) and run the whole suite.
	tests/services/install.sh
	$(BIN)/python -m pytest

lint: $(VENV)/.ready ## ruff: style and format.
	$(BIN)/ruff check .

types: $(VENV)/.ready ## mypy, strict.
	$(BIN)/mypy

.PHONY: bench
bench: $(VENV)/.ready ## Measure beside bare Flask and the SDK (QUICK=1: a minute or two), write docs/benchmarks.md.
	BENCH_QUICK=$(QUICK) BENCH_COMMAND='make bench' $(BIN)/python -m bench
