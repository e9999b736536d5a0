# Every target builds what it needs; `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ARGS ?=

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: install
install: $(READY) ## Build the environment in .venv from the locks

$(READY): requirements-dev.lock pyproject.toml .ci/install.py
	@$(PYTHON) -c 'import sys; sys.exit("notify needs Python 3.11 or newer, found " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	@$(PYTHON) .ci/install.py $(VENV) requirements-dev.lock
	@touch $@

.PHONY: demo
demo: $(READY) ## Start the embedded stack, send and show sample emails (ARGS=--once exits)
	@$(BIN)/notify demo $(ARGS)

.PHONY: test
test: $(READY) ## Run all tests but the slow ones
	$(BIN)/python -m pytest -m "not slow" $(SIDE_BY_SIDE) $(ARGS)
# Processes with a database and a broker each; a broker named from outside cannot be shared. Three, because many tests
# wait: on two cores they take two thirds of the time that two processes take.
SIDE_BY_SIDE := $(if $(NOTIFY_TEST_BROKER_URL),,-n 3)

.PHONY: faults
faults: $(READY) ## Run all fault tests (kills, cut connections, false answers), and all slow tests
	$(BIN)/python -m pytest tests/faults $(SLOW_ELSEWHERE) $(SIDE_BY_SIDE) $(ARGS)
SLOW_ELSEWHERE := tests/journeys/test_demo.py tests/store/outbox/test_facts_at_scale.py \
	tests/store/outbox/test_items_at_scale.py

.PHONY: soak
soak: $(READY) ## Disturb a running stack for MINUTES=10; count lost and repeated emails
	@$(BIN)/python -m tests.faults.soak --minutes $(MINUTES) $(ARGS)
MINUTES ?= 10

.PHONY: bench
bench: $(READY) ## Run the benchmarks, peers included (ARGS=--quick: three minutes)
	@$(BIN)/python -m tests.benchmarks $(ARGS)

.PHONY: check
check: $(READY) ## Check format, lint, types, imports, and the locked packages
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.support.audit requirements.lock requirements-embedded.lock requirements-dev.lock $(ACCEPTED)
# Known vulnerabilities that do no harm here: --accept ID, each with its reason.
ACCEPTED :=

.PHONY: format
format: $(READY) ## Rewrite the code in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: messages
messages: $(READY) ## Extract the texts of emails and pages for translators
	@$(BIN)/python -m tests.support.translations

.PHONY: protos
protos: $(READY) ## Generate the code for gRPC from notify/rpc/v1/heads.proto
	@$(BIN)/python -m grpc_tools.protoc --proto_path=. --python_out=. --pyi_out=. --grpc_python_out=. notify/rpc/v1/heads.proto

.PHONY: lock
lock: $(READY) ## Lock the newest versions of all packages, with hashes (NEWEST=: add new ones only)
	$(BIN)/uv pip compile --quiet $(LOCK_FLAGS) --extra worker --extra api --extra flower --extra grpc pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet $(LOCK_FLAGS) --extra embedded --extra grpc pyproject.toml -o requirements-embedded.lock
	$(BIN)/uv pip compile --quiet $(LOCK_FLAGS) --extra dev pyproject.toml -o requirements-dev.lock
LOCK_FLAGS = $(NEWEST) --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header
NEWEST := --upgrade

.PHONY: clean
clean: ## Remove the environment, caches and embedded data
	rm -rf $(VENV) .notify .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage htmlcov dist
