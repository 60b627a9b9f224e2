# `make run` and `make test` do all the set-up: they make .venv once, and again after pyproject.toml changed.

# The first Python that is new enough.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
WEB := clients/web/node_modules/.installed
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input

USERS ?= 2000
SECONDS ?= 60
KILLS ?= 20
SEED ?= 1
ARGS ?=

.PHONY: help run test check format load torture bench bench-peers bench-plots clean

help:
	@echo "make run                        start the relay on 127.0.0.1:7450, data in ./data"
	@echo "make test                       run the tests"
	@echo "make check                      format, lint, types, structure (under half a minute)"
	@echo "make format                     format the code"
	@echo "make load USERS=2000 SECONDS=60 load test against a relay of its own; SCENARIO= another one"
	@echo "make torture KILLS=20 SEED=1    kill the relay under load, and prove that nothing is lost"
	@echo "make bench                      measure the relay; make bench-peers: beside NATS, Redis and Mosquitto"
	@echo "make bench-plots                draw cost against payload and connections into docs/benchmarks"
	@echo "make web                        build the chat page that the relay serves (needs Node)"
	@echo "make clean                      remove what make made; ./data stays"

run: $(VENV)/installed
	@echo "In a second terminal, make two users:  $(BIN)/relay user add alice; $(BIN)/relay user add bob"
	@echo "Then  $(BIN)/relay listen --url relay://bob@127.0.0.1  and in a third  $(BIN)/relay send --url relay://alice@127.0.0.1 bob hello"
	@exec $(BIN)/relay serve --listen 127.0.0.1:7450 --data ./data $(ARGS)

test: $(VENV)/installed-dev web-modules
	@$(BIN)/python -m pytest -n auto $(ARGS)

check: $(VENV)/installed-dev
	@$(BIN)/ruff format --check --quiet . || { echo "some files are not formatted: make format"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest tests/test_structure.py

format: $(VENV)/installed-dev
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

load: $(VENV)/installed-dev
	@$(BIN)/python loadtest/run.py --users $(USERS) --seconds $(SECONDS) $(if $(SCENARIO),--scenario $(SCENARIO)) $(ARGS)

torture: $(VENV)/installed-dev
	@$(BIN)/python -m loadtest.torture --kills $(KILLS) --seed $(SEED) $(ARGS)

bench: $(VENV)/installed-dev
	@$(BIN)/python -m loadtest.bench $(ARGS)

bench-peers: $(VENV)/installed-dev
	@$(BIN)/python -m loadtest.bench --peers $(ARGS)

bench-plots: $(VENV)/installed-dev
	@$(PIP) --editable '.[plots]'
	@$(BIN)/python -m loadtest.bench pipe-1 --peers --payload 16,128,1024,8192,65536 \
		--plot docs/benchmarks/payload.svg --json docs/benchmarks/payload.jsonl $(ARGS)
	@$(BIN)/python -m loadtest.bench pingpong --peers --connections 10,100,1000,10000 \
		--plot docs/benchmarks/connections.svg --json docs/benchmarks/connections.jsonl $(ARGS)

# The browser client's tools, for its tests and its build. Without Node those tests are skipped.
.PHONY: web-modules
web-modules:
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory $(WEB); else echo "no npm: the tests of clients/web are skipped"; fi

$(WEB): clients/web/package-lock.json
	@echo "installing the browser client's tools into clients/web/node_modules ..."
	@cd clients/web && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

# What the relay serves as its chat page: built from clients/web/chat into relay/http/site, and committed.
.PHONY: web
web: web-modules
	@node clients/web/build.mjs

clean:
	rm -rf $(VENV) clients/web/node_modules clients/web/dist .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist results
	find relay clients loadtest tests -name __pycache__ -prune -exec rm -rf {} +

# A stamp for each set of dependencies: newer than pyproject.toml means installed.
$(VENV)/installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "make: Python 3.11 or newer is needed and was not found"; exit 1; }
	@test -x $(BIN)/python -a -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "make: the venv module is missing; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@echo "installing into $(VENV) ..."
	@$(PIP) --editable .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@echo "installing the development and load test tools ..."
	@$(PIP) --editable '.[dev,load]'
	@touch $@
