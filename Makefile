# Every target works from a fresh clone; the first one makes .venv. CI runs `make test` and nothing that is not here.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ENGINE := $(BIN)/python tests/private_engine.py
DEV_ENGINE := $(CURDIR)/.cache/engine
PYTEST := $(BIN)/python -m pytest

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(READY) ## an author's function on a real engine, the daemon killed in its middle (first run up to 6 min, later 50 s)
	@$(BIN)/python examples/demo/demo.py

.PHONY: check
check: lint compiler ## what a commit must pass: lint, types, import contracts, unit and contract tests that take no second (a minute)
	$(PYTEST) -q -n 2 --hypothesis-profile=check -m "not soak and not slow" tests/unit tests/contract

# On an engine most tests wait: three files of them go side by side, however few cores there are; each process has an engine of its own.
# A file stays together, since many share what they set up; those that measure time come afterwards, alone.
.PHONY: test
test: lint engine-works upload-servers compiler kit browser ## everything, on a real engine (half an hour); fails where no engine can be had
	$(PYTEST) -q -n 2 -m "not soak" --durations=10 tests/unit tests/contract tests/shell
	$(PYTEST) -q -n 3 --dist loadfile -m "not soak and not alone" --durations=20 tests/docker tests/e2e
	$(PYTEST) -q -m "alone and not soak" tests/docker tests/e2e
	$(if $(PAGE),$(MAKE) test-page)

# The page is no part of this repository. Each file there has what it tests in its first line.
.PHONY: test-page
test-page: $(READY) ## the examples and tests of the decorator reference, as its page has them: PAGE=FILE
	PAGE=$(abspath $(PAGE)) $(PYTEST) -q -o python_files='page_*.py' tests/page

# Its checks are found by their path alone, so that `make test` needs no GPU; and they fail where there is none.
.PHONY: test-gpu
test-gpu: $(READY) ## what the agent asks of NVIDIA's driver, asked of this machine's and printed; fails where there is no GPU
	$(PYTEST) -q -s tests/gpu/real_driver.py

.PHONY: soak
soak: engine-packages ## the tests that take longer than a minute each
	$(PYTEST) -m soak --durations=0

.PHONY: chaos
chaos: engine-packages ## ten minutes of submits, cancels, SIGKILLs and engine restarts
	$(BIN)/python -m tests.e2e.chaos --seconds 600

.PHONY: bench
bench: engine-packages ## the figures of docs/performance.md, measured here
	$(BIN)/python -m bench

.PHONY: lint
lint: $(READY) ## ruff, formatting, types, import contracts
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy --no-error-summary
	$(BIN)/lint-imports > $(VENV)/import-contracts.txt || { cat $(VENV)/import-contracts.txt; exit 1; }

.PHONY: format
format: $(READY) ## rewrite what ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: engine
engine: engine-packages ## a private Docker engine for development; prints how to reach it, runs until `make engine-stop`
	@echo "export DOCKER_HOST=unix://$$($(ENGINE) start $(DEV_ENGINE))"

.PHONY: engine-stop
engine-stop: $(READY) ## end it, with its containers
	@$(ENGINE) stop $(DEV_ENGINE)

.PHONY: engine-packages
engine-packages: $(READY)
	@$(ENGINE) packages > /dev/null

# A test without an engine is skipped where a person runs it alone; here it must not be.
.PHONY: engine-works
engine-works: engine-packages
	@$(ENGINE) start $(CURDIR)/.cache/probe > /dev/null && $(ENGINE) stop $(CURDIR)/.cache/probe > /dev/null

# Likewise for the servers of others that uploads are tested against.
.PHONY: upload-servers
upload-servers: $(READY)
	@scripts/ensure-upload-servers

.PHONY: kit
kit: $(READY) ## the SSH kit, built of the distribution's packages below .cache/; installs what its tests need besides
	@$(BIN)/python -m tests.ssh_kit

.PHONY: compiler
compiler:
	@scripts/ensure-compiler

.PHONY: browser
browser: $(READY)
	@scripts/ensure-browser

.PHONY: clean
clean: ## remove what the other targets made: environment, caches, engine
	@if [ -e $(DEV_ENGINE)/engine.json ]; then python3 tests/private_engine.py stop $(DEV_ENGINE); fi
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): requirements-build.txt requirements-dev.txt pyproject.toml scripts/make-venv
	@scripts/make-venv $(VENV)
	@touch $@
