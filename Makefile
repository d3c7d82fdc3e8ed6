# The environment is made by whichever target needs it first; `make help` lists the targets.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help demo test quick test-gpu lint fmt type docs check golden bench clean
.DEFAULT_GOAL := help

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-8s %s\n", $$1, $$2}'

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "featcli needs Python 3.11 or newer; name one with PYTHON=..." >&2; exit 4; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: $(INSTALLED)  ## install, then the whole path on real digits with real weights
	$(BIN)/featcli demo

test: $(INSTALLED)  ## every test
	$(BIN)/python -m pytest -n 2

quick: $(INSTALLED)  ## the tests to run after each change: all but the slow and the real ones
	$(BIN)/python -m pytest -n 2 -m "not slow and not real"

test-gpu: $(INSTALLED)  ## the tests that need a CUDA device
	$(BIN)/python -m pytest tests/gpu

lint: $(INSTALLED)  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

fmt: $(INSTALLED)  ## rewrite to the format
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

type: $(INSTALLED)  ## mypy, strict
	$(BIN)/mypy

docs: $(INSTALLED)  ## write docs/cli.md, docs/config.md and the table of backbones
	$(BIN)/python scripts/docs.py

check: lint type test  ## what CI runs
	$(BIN)/python scripts/docs.py --check

golden: $(INSTALLED)  ## write what commands show on a terminal again, tests/golden
	$(BIN)/python -m tests.golden

bench: $(INSTALLED)  ## speed and memory, as ratios; then docs/benchmarks.md, beside peers (two hours)
	$(BIN)/python scripts/bench_spine.py
	$(BIN)/python scripts/bench_logistic.py
	$(BIN)/python scripts/bench_data.py
	$(BIN)/python scripts/bench_finetune.py
	$(BIN)/python scripts/bench_speed.py --peers $(VENV)/peers

clean:  ## remove the environment and the caches of the tools
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
