# `make help` prints this file's targets. Everything runs in .venv, which the first call makes.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DELETE_ON_ERROR:

# The Python that makes the environment: make setup PYTHON=python3.12
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Test processes side by side (some wait most of their time), and more arguments for pytest: make test ARGS='-k store -x'
JOBS ?= 3
ARGS ?=
# How long `make fuzz` attacks the kernel.
SECONDS ?= 600
# How long `make soak` makes trouble, and how much `make soak-kills` goes through.
MINUTES ?= 20
EVENTS ?= 1000000
KILLS ?= 100
PYTEST := $(BIN)/python -m pytest -q
CODE := src tests bench examples

.PHONY: help
help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(VENV)/.ready-demo ## the whole road once, ends by itself: service, five steps, bulk upload, scan, alerts
	@$(BIN)/python examples/demo.py

.PHONY: setup
setup: $(VENV)/.ready-dev ## make .venv with everything that development needs; a second call is instant
	@:

.PHONY: test
test: setup ## the suite, some 13 minutes
	$(PYTEST) -m 'not slow' -n $(JOBS) --dist worksteal $(ARGS)

.PHONY: coverage
coverage: setup ## the suite with branch coverage, which takes minutes more
	$(MAKE) test ARGS='--cov --cov-report=term:skip-covered $(ARGS)'

.PHONY: test-fast
test-fast: setup ## what takes long is left out, under 60 s
	$(PYTEST) -m 'not slow and not full' -n 2 --dist worksteal $(ARGS)

.PHONY: test-slow
test-slow: setup ## the long runs alone: the whole truth, kills by the hundred
	$(PYTEST) -m slow $(ARGS)

.PHONY: test-spark
test-spark: $(VENV)/.ready-spark ## Spark's jobs, on Sail and on Spark 4 itself (Java 17); installs 450 MB
	$(PYTEST) -m 'not slow' tests/test_scale.py $(ARGS)
	$(PYTEST) -m slow tests/test_scale.py tests/test_spark.py $(ARGS)

.PHONY: test-connectors
test-connectors: $(VENV)/.ready-spark ## Spark with topics of a real Kafka and tables of Delta, minutes; their jars come from Maven
	$(PYTEST) -m slow tests/test_spark_connectors.py $(ARGS)

.PHONY: soak
soak: setup ## faults around the service: kills, full disk, clock steps, dead webhooks, a locked store: MINUTES=20 SEED=1
	PYTHONPATH=tests $(BIN)/python -m soak faults --minutes $(MINUTES) --seed $(or $(SEED),1)

.PHONY: soak-kills
soak-kills: setup ## kills by the hundred while a stream runs: EVENTS=1000000 KILLS=100 SEED=1, some minutes
	PYTHONPATH=tests $(BIN)/python -m soak kills --events $(EVENTS) --kills $(KILLS) --seed $(or $(SEED),1)

.PHONY: soak-kafka
soak-kafka: setup ## consumers of a real Kafka are killed in rebalances: EVENTS=1000000 KILLS=100 SEED=1
	PYTHONPATH=tests $(BIN)/python -m soak group --events $(EVENTS) --kills $(KILLS) --seed $(or $(SEED),1)

.PHONY: soak-hosts
soak-hosts: setup ## three hosts on one database, killed in turn, the database restarted: MINUTES=10 SEED=1
	PYTHONPATH=tests $(BIN)/python -m soak hosts --minutes $(MINUTES) --seed $(or $(SEED),1)

.PHONY: fuzz
fuzz: setup ## the kernel under sanitizers for SECONDS=600, and more examples for the engine; SEED=… repeats a run
	PYTHONPATH=tests $(BIN)/python -m fuzz --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))
	INDICIA_EXAMPLES=20000 $(PYTEST) --timeout=0 -m 'not slow' tests/test_engine.py tests/test_borders.py $(ARGS)

.PHONY: lint
lint: setup ## ruff, its format, mypy --strict, the layers of the imports
	$(BIN)/python -m ruff check $(CODE)
	$(BIN)/python -m ruff format --check $(CODE)
	$(BIN)/python -m mypy $(CODE)
	$(BIN)/lint-imports

.PHONY: format
format: setup ## let ruff write the format and sort the imports
	$(BIN)/python -m ruff check --fix --select I $(CODE)
	$(BIN)/python -m ruff format $(CODE)

.PHONY: screenshots
screenshots: setup ## pictures of the portal's pages into .screenshots: WORDS='alerts account' for some, README=1 for README.md's
	PYTHONPATH=tests $(BIN)/python -m screenshots $(if $(README),--readme docs/images,.screenshots $(WORDS))

.PHONY: bench
bench: $(VENV)/.ready-bench ## the figures of docs/figures.md, measured on this machine; installs the peers
	@failed=; for file in bench/*.py; do echo "== $$file"; $(BIN)/python "$$file" || failed="$$failed $$file"; done; \
		[ -z "$$failed" ] || { echo "missed a goal or failed:$$failed"; exit 1; }

.PHONY: dist
dist: setup ## sdist and wheels into dist: CPython 3.11 and later, x86_64 and aarch64, glibc from 2014 on and musl
	rm -rf build dist
	$(BIN)/python scripts/wheels.py dist

.PHONY: test-wheels
test-wheels: $(VENV)/.ready-wheels ## run the wheels of other machines and C libraries, under qemu-user: some 20 minutes
	PYTHON=$(BIN)/python scripts/pythons.sh .pythons
	$(PYTEST) -m slow tests/test_wheels.py $(ARGS)

.PHONY: clean
clean: ## remove what can be made again: .venv, caches, the demo's home
	rm -rf $(VENV) .demo .pythons .screenshots build dist src/*.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	rm -f .coverage .coverage.*
	find src tests bench examples -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is written last, so an interrupted call leaves none and the next one goes on.
$(VENV)/.ready-%: pyproject.toml setup.py src/indicia/match/_kernel.c scripts/setup.sh
	@PYTHON='$(PYTHON)' scripts/setup.sh '$(VENV)' '$*'
