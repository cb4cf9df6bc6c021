# Needs python3 (3.11 or later, with venv) and make. Every target makes .venv when there is none, and reuses it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all lint bench clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /\1|/' | while IFS='|' read -r name what; do printf 'make %-10s %s\n' "$$name" "$$what"; done

install: $(INSTALLED)  ## make .venv with the package (editable) and the development tools

demo: $(INSTALLED)  ## from nothing to predictions: make scenes, train, evaluate, predict
	$(BIN)/python examples/demo.py

test: $(INSTALLED)  ## tests, without the slow ones
	$(BIN)/python -m pytest -m "not slow"

test-all: $(INSTALLED)  ## all tests
	$(BIN)/python -m pytest

lint: $(INSTALLED)  ## style, types, layers, spelling
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell $(wildcard src tests benchmarks examples docs .ci .github Makefile *.md *.toml)

bench: $(INSTALLED)  ## every benchmark, with its default arguments: some ten minutes
	$(BIN)/mtmamba bench
	$(BIN)/python benchmarks/rooms.py

clean:  ## remove .venv, caches, and what training and the demo wrote (runs/, demo/)
	rm -rf $(VENV) runs demo dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is needed; choose one with: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || \
		{ echo "$(PYTHON) cannot make virtual environments (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV). The first time takes minutes: torch alone is a download of gigabytes on Linux."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
