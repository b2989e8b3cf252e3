# Two commands for a newcomer: `make demo` and `make test`. Each makes .venv if it is not there, installs by
# constraints.txt, and does its job; a second run skips what is done. `make help` lists the rest.
.DEFAULT_GOAL := help
SHELL := /bin/sh

# The first Python on the path that runs and is 3.11 or 3.12; another one: make PYTHON=/path/to/python ...
PYTHON ?= $(shell for p in python3.11 python3.12 python3 python; do \
	"$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' >/dev/null 2>&1 \
	&& { echo "$$p"; break; }; done)
BIN := .venv/bin
# Where torch comes from: an index of wheels, e.g. https://download.pytorch.org/whl/cpu, or .../whl/cu126 for CUDA
# 12.6 (https://pytorch.org/get-started/locally names them). Empty: wherever pip is set up to look.
TORCH_INDEX ?=
EXTRAS ?= demo,dev
ARGS ?=

.PHONY: help venv demo test test-all lint format wheel clean

help:  ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  Each of them takes"
	@echo "  TORCH_INDEX=URL  an index of torch wheels: https://download.pytorch.org/whl/cpu for CPUs,"
	@echo "                   https://download.pytorch.org/whl/cu126 for CUDA 12.6; empty: pip's own choice"
	@echo "  EXTRAS=NAMES     extras of the package to install: demo,dev unless told; demo,dev,ray tests Ray too"
	@echo "  PYTHON=PATH      the Python 3.11 or 3.12 to make .venv with"
	@echo "  ARGS=...         for adaface (demo) or pytest (test)"

venv:  ## make or mend .venv (the other targets do this by themselves)
	@if [ -z "$(PYTHON)" ]; then \
		echo "No Python 3.11 or 3.12 on the path. Install one, or say where it is: make PYTHON=/path/to/python3.11 ..." >&2; \
		exit 1; fi
	@"$(PYTHON)" scripts/environment.py --torch-index "$(TORCH_INDEX)" --extras "$(EXTRAS)"

demo: venv  ## a grid of pictures of the astronaut: out/demo/grid.png
	@$(BIN)/adaface demo -o out/demo $(ARGS)
	@echo "The grid: out/demo/grid.png   The figures: out/demo/summary.json"

test: venv  ## the quick tests (ARGS=... goes to pytest)
	@$(BIN)/python -m pytest -m "not slow" $(ARGS)

test-all: venv  ## the quick and the slow tests
	@$(BIN)/python -m pytest $(ARGS)

lint: venv  ## format, lint, types of src, floors: what CI checks
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: venv  ## put the code into its format
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

wheel: venv  ## dist/adaface-*.whl, weights included
	@$(BIN)/python -m build --wheel --no-isolation --outdir dist .

clean:  ## remove environments, caches, builds and results
	rm -rf .venv .venv-* build dist out .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
