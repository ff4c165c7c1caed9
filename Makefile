# make help lists the targets. Variables: PYTHON (interpreter for .venv), ARGS (options of hmchain run or of pytest).

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# The first Python from 3.11 on; python3 itself wherever it is recent enough.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m tools.install
SOLC := .tools/solc
RUN := runs/latest
# Three workers on two cores: consortia of processes on two of them, which wait much, everything else on the third, and
# then on all (tests/conftest.py). A fourth makes it no faster.
TEST := $(BIN)/ape test --numprocesses 3 --dist loadgroup --no-loadscope-reorder
COMPILED := .build/__local__.json

export SOLCX_BINARY_PATH := $(CURDIR)/$(SOLC)
export APE_DATA_FOLDER := $(CURDIR)/.tools/ape
export PATH := $(CURDIR)/.tools/bin:$(PATH)
# Else every process that the tests start would compile our modules for itself.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run test check compiled lint figures artifacts bench daemons clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 18

run: $(VENV)/.run-installed ## train the federation into runs/latest, then verify it (ARGS="--rounds 3")
	rm -rf $(RUN)
	$(BIN)/hmchain run --out $(RUN) $(ARGS)
	$(BIN)/hmchain verify $(RUN)

test: $(VENV)/.dev-installed ## the whole test suite through ape (ARGS="-k election")
	@$(BIN)/python -m tools.solc
	@$(BIN)/python -m tools.daemons
	@$(BIN)/python -m tools.browser
	@$(MAKE) --no-print-directory compiled
	$(TEST) $(ARGS)

check: $(VENV)/.dev-installed ## the gate: lint, figures, test (artifact drift among them)
	@$(BIN)/python -m tools.solc
	$(MAKE) --no-print-directory --jobs=2 --output-sync=target compiled lint figures
	$(MAKE) --no-print-directory test

compiled: $(COMPILED) ## the contracts as ape's tests use them
	@:

lint: $(VENV)/.dev-installed ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

figures: $(VENV)/.dev-installed ## the gas table against its budgets, the README against what is there
	$(BIN)/python -m bench.gas --check
	$(BIN)/python -m tools.readme

artifacts: $(VENV)/.dev-installed ## compile contracts/ into hmchain/artifacts
	$(BIN)/python -m tools.artifacts

bench: $(VENV)/.dev-installed ## gas per call and per round, and where a run's time goes
	$(BIN)/python -m bench $(ARGS)

daemons: $(VENV)/.dev-installed ## anvil and Kubo into .tools/bin, for hmchain up and the tests
	@$(BIN)/python -m tools.daemons

clean: ## remove what the other targets made, except runs/
	rm -rf $(VENV) .tools .build .cache contracts/.cache node_modules build *.egg-info \
		.hypothesis .pytest_cache .mypy_cache .ruff_cache

# Installed editable: an edited source is what runs. A stamp is renewed when a range or a pin changes.

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "FL-HMChain needs Python 3.11 or later; name it with: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$(PYTHON) cannot make virtual environments; on Debian or Ubuntu: sudo apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run-installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing FL-HMChain and what it needs into $(VENV); the first time takes some minutes"
	$(INSTALL) -e .
	@touch $@

$(VENV)/.dev-installed: pyproject.toml constraints.txt tools/ape-requirements.txt | $(BIN)/python
	@echo "installing FL-HMChain and its development tools into $(VENV); the first time takes some minutes"
	$(INSTALL) -e '.[dev]'
	@if $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 13))'; then \
		$(INSTALL) -r tools/ape-requirements.txt && $(INSTALL) --no-deps ape-solidity eth-ape; fi
	@touch $@ $(VENV)/.run-installed

# Before the tests' workers start: each would compile everything for itself, which takes half a minute alone. And from
# scratch: ape compiles the sources that changed, but not those that create their contracts, as HMChain does Ballots.
$(COMPILED): $(wildcard contracts/*.sol contracts/*/*.sol) ape-config.yaml | $(VENV)/.dev-installed
	@rm -f $@
	@$(BIN)/ape compile --verbosity WARNING
