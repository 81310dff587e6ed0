# Two commands: `make demo` and `make test`. Everything they need is installed by them.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo -n)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Debian 12's pip warns about packages without pyproject.toml, unless it builds them as it builds the others.
export PIP_USE_PEP517 := 1

.PHONY: help demo test lint types docs

help: ## Show the targets.
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

# Debian's python3 comes without the part of venv that installs pip.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || { \
	  echo "Debian's package python3-venv, which $(PYTHON) lacks: about 20 seconds."; \
	  $(SUDO) apt-get update -qq && $(SUDO) env DEBCONF_NOWARNINGS=yes apt-get install -qqy --no-install-recommends python3-venv >/dev/null && \
	  rm -rf $(VENV) && $(PYTHON) -m venv $(VENV); }

$(VENV)/.ready: $(BIN)/pip pyproject.toml constraints.txt
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	@touch $@

# The local model's engine needs OpenMP, which a small Debian lacks.
.PHONY: openmp
openmp:
	@PATH="$$PATH:/sbin:/usr/sbin" ldconfig -p | grep -q 'libgomp\.so\.1' || { \
	  echo "Debian's package libgomp1, which the local model's engine needs: a few seconds."; \
	  $(SUDO) apt-get update -qq && $(SUDO) env DEBCONF_NOWARNINGS=yes apt-get install -qqy --no-install-recommends libgomp1 >/dev/null; }

$(VENV)/.demo: $(BIN)/pip pyproject.toml constraints.txt
	@echo "Python packages: about 140, installed once into $(VENV), in a minute or two."
	@$(BIN)/pip install -c constraints.txt -e '.[chainlit,local]'
	@touch $@

demo: $(VENV)/.demo openmp ## Serve the example with a local model: the API on 127.0.0.1:8091, the chat page on 8092.
	@$(BIN)/python examples/demo.py

test: $(VENV)/.ready openmp ## Install what the tests need (database servers included) and run the whole suite.
	tests/services/install.sh
	$(BIN)/python -m pytest -n 3 --dist loadfile

lint: $(VENV)/.ready ## ruff: style and format.
	$(BIN)/ruff check .

types: $(VENV)/.ready ## mypy, strict.
	$(BIN)/mypy

docs: $(VENV)/.ready ## Generate docs/settings.md.
	$(BIN)/python docs/generate_settings.py

.PHONY: site
site: $(VENV)/.ready ## Build the docs as a site, into .site; a broken link is an error.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

.PHONY: screenshots
screenshots: $(VENV)/.ready ## Make the pictures of the chat page in docs/images again.
	tests/services/install.sh
	SCREENSHOTS=1 $(BIN)/python -m pytest tests/browser/test_screenshots.py

.PHONY: bench
bench: $(VENV)/.ready ## Measure next to bare Starlette and Flask, the SDK, ADK, Agno and Chainlit (QUICK=1: some minutes), write docs/benchmarks.md.
	BENCH_QUICK=$(QUICK) BENCH_COMMAND='make bench' $(BIN)/python -m bench

.PHONY: chaos
chaos: $(VENV)/.ready ## kill -9 at random points under load (KILLS=200): nothing acknowledged is lost.
	$(BIN)/python -m tests.process.chaos $(or $(KILLS),200) $(DATABASE)

.PHONY: soak
soak: $(VENV)/.ready ## 10,000 idle streams, 1,000 slow readers, five times the load: a trivial request stays quick.
	$(BIN)/python -m tests.process.soak

.PHONY: install-check
install-check: $(VENV)/.ready ## The built wheel as users install it, by pip of Debian 12 and 13: what pip tries, what starts.
	$(BIN)/python -m pytest -q -rP tests/install

.PHONY: py313
py313: ## The unit ring on Debian 13's Python 3.13, in a chroot (root; kept in /var/cache/appbuilder-py313).
	tests/services/debian13.sh

.PHONY: frameworks
frameworks: $(VENV)/.ready ## LangChain, LangGraph, Pydantic AI, Haystack and others themselves: what they answer is read, they are refused by name.
	@[ -e .frameworks/.ready ] || { $(PYTHON) -m venv .frameworks && \
	  .frameworks/bin/pip install -q -e . langchain-core langgraph pydantic-ai-slim haystack-ai anthropic openai-agents && \
	  touch .frameworks/.ready; }
	.frameworks/bin/python tests/frameworks/check.py
