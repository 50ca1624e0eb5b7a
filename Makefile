# llmlb: `make demo` shows it, `make test` checks it. `make help` lists the rest.

PORT ?= 32768
VENV := .venv
BIN := $(VENV)/bin
# Shell scripts find a Python; name one to choose: make demo PYTHON=python3.12
export PYTHON

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo serve test unit simulate e2e bench bench-quick test-313 lint scan format api-doc lock clean env-app env-demo env-dev

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: env-demo ## two real llama.cpp servers behind the balancer, until Ctrl-C (PORT=32768)
	@exec $(BIN)/llmlb demo --port $(PORT)

serve: env-app ## the balancer alone, on 127.0.0.1 (PORT=32768)
	@exec $(BIN)/llmlb serve --port $(PORT)

test: env-dev ## everything: the whole suite, lint, scans, and part of it on 3.13
	@exec scripts/test.sh

unit: env-dev ## the fast part of the suite, in virtual time
	@exec $(BIN)/python -m pytest -m "not e2e and not simulation and not adversary" -q

simulate: env-dev ## play the whole balancer in virtual time, from 200 seeds
	@exec $(BIN)/python -m tests.simulation --seeds 200

e2e: env-dev ## the part with real servers and real sockets
	@exec $(BIN)/python -m pytest -m e2e

test-313: env-dev ## the unit tests of store, house and HTTP on Python 3.13, if there is one
	@scripts/test-313.sh

bench: env-app ## how fast it is, beside others: docs/performance.md (needs gcc; 10 min)
	@exec $(BIN)/python -m bench run

bench-quick: env-app ## the same at a glance, whose figures say little (2 min)
	@exec $(BIN)/python -m bench run --quick

lint: env-dev ## style, types, async rules, layers
	$(BIN)/ruff check llmlb tests scripts bench
	$(BIN)/ruff format --check llmlb tests scripts bench
	$(BIN)/mypy --explicit-package-bases llmlb tests scripts bench
	$(BIN)/flake8 --select ASYNC $$(grep -rlw --include='*.py' async llmlb)
	$(BIN)/lint-imports

scan: env-dev ## insecure code, known vulnerabilities of packages, secrets in files
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive llmlb
	$(BIN)/python -m scripts.audit
	$(BIN)/python -m scripts.scan_secrets

format: env-dev ## rewrite the code in the one format
	$(BIN)/ruff check --fix-only llmlb tests scripts bench
	$(BIN)/ruff format llmlb tests scripts bench

api-doc: env-app ## docs/api.md anew, after a change of the API
	@exec $(BIN)/python -m scripts.api_doc

lock: ## write requirements/*.txt anew (needs uv; UPGRADE=--upgrade for newer versions)
	@scripts/lock.sh $(UPGRADE)

clean: ## remove environments, caches and what the demonstration left
	rm -rf .venv .venv313 .demo build bench/build dist .coverage .coverage.* htmlcov
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find llmlb tests -name __pycache__ -type d -prune -exec rm -rf {} +

env-app:
	@scripts/env.sh app $(VENV)

env-demo:
	@scripts/env.sh demo $(VENV)

env-dev:
	@scripts/env.sh dev $(VENV)
