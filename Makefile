# Everything from a bare clone with Python >= 3.11 and make: the first target sets up .venv by itself.
#
#   make demo    the main job on your machine, with no account at all
#   make test    the test suite            make check   formatter, linter, types, import rules, docs
#   make test-postgresql    what the state store and the mappings promise, on PostgreSQL (minutes)
#   make soak    three simulated days of a worker with every fault on (minutes)
#   make bench   what it costs, beside the bare cost of the same work (minutes; bench-full: 500,000 orders too)
#   make lock    remake the locks          make clean   remove what the others made

# Keep what is compiled: every process would do it again.
export PYTHONDONTWRITEBYTECODE :=

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_DEV := $(VENV)/.ready-dev
INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check
COMPILE := $(BIN)/python -m compileall -qq connectors sync mappings config state
LOCK := $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-header --no-annotate pyproject.toml

.PHONY: demo test test-postgresql soak bench bench-full check lock clean
.DELETE_ON_ERROR:

demo: $(READY)
	@$(BIN)/cartwire demo

test: $(READY_DEV)
	@$(BIN)/python -m pytest -n 2 $(ARGS)

test-postgresql: $(READY_DEV)
	@$(BIN)/python -m pytest -n 2 --postgresql tests/state tests/mappings tests/sync $(ARGS)

soak: $(READY_DEV)
	@PYTHONPATH=. $(BIN)/python bench/soak.py $(ARGS)

bench: $(READY_DEV)
	@PYTHONPATH=. $(BIN)/python bench/evaluation.py 100000
	@PYTHONPATH=. $(BIN)/python bench/webhooks.py 10
	@PYTHONPATH=. $(BIN)/python -m bench.measure $(ARGS)

bench-full: $(READY_DEV)
	@PYTHONPATH=. $(BIN)/python bench/evaluation.py 1000000
	@PYTHONPATH=. $(BIN)/python bench/webhooks.py
	@PYTHONPATH=. $(BIN)/python -m bench.measure --orders 5000 50000 500000 $(ARGS)

check: $(READY_DEV)
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/ruff check --quiet
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/hadolint Dockerfile
	@$(BIN)/lint-imports --no-logo >$(VENV)/imports.log 2>&1 || { cat $(VENV)/imports.log; exit 1; }
	@$(BIN)/python -m pytest --quiet --no-header tests/test_docs.py tests/test_repository.py
	@echo "check: all good"

lock: $(READY_DEV)
	@$(LOCK) --extra build --output-file requirements.lock
	@$(LOCK) --extra build --extra dev --output-file requirements-dev.lock

clean:
	@rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Cartwire needs Python 3.11 or newer; \`$(PYTHON)\` is $$($(PYTHON) --version 2>/dev/null || echo missing)." >&2; \
		echo "Name another one: make PYTHON=python3.13 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "Making $(VENV) …"
	@$(PYTHON) -m venv $(VENV)

# A stamp is older than a lock that changed: then everything is installed anew.
$(READY): requirements.lock pyproject.toml | $(BIN)/python
	@echo "Installing what Cartwire needs …"
	@$(INSTALL) --require-hashes -r requirements.lock
	@$(INSTALL) --no-deps --no-build-isolation -e .
	@$(COMPILE)
	@touch $@

$(READY_DEV): requirements-dev.lock pyproject.toml | $(BIN)/python
	@echo "Installing what Cartwire and its tests need …"
	@$(INSTALL) --require-hashes -r requirements-dev.lock
	@$(INSTALL) --no-deps --no-build-isolation -e .
	@$(COMPILE)
	@touch $@ $(READY)
