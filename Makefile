# Every target is a session of noxfile.py; ARGS are its arguments: make test ARGS="-k watch"
PYTHON ?= python3
ARGS ?=
nox = @$(PYTHON) scripts/tools.py
arguments = $(if $(ARGS),-- $(ARGS))

.DEFAULT_GOAL := help
.PHONY: demo test test-versions test-alongside test-gateways test-recipes test-repeat mutate audit lint types \
	proto check-proto wheel bench matrix soak recovery docs screens fault-times dev clean help

demo: ## run a real Milvus and follow a real import to its end
	$(nox) -s demo $(arguments)

test: ## lint, types, generated code and all tests on the built wheel; with ARGS only pytest
	$(nox) -s tests $(arguments)

test-versions: ## the tests on the lowest and newest dependencies, on each Python found; ONLY=3.13
	$(nox) -s versions $(arguments)

test-alongside: ## the wheel and each supported pymilvus in one process
	$(nox) -s alongside

test-gateways: ## nginx and HAProxy in front of FakeMilvus and of a real Milvus
	$(nox) -s gateways $(arguments)

test-recipes: ## the recipes of docs/ for FastAPI, Celery, Airflow and Prefect; not a part of CI
	$(nox) -s recipes $(arguments)

test-repeat: ## all tests ten times, then once with all durations x3; ARGS=COUNT
	$(nox) -s repeat $(arguments)

mutate: ## mutation tests of one module: make mutate MODULE=src/milvus_import/_client.py
	$(nox) -s mutate -- $(MODULE) $(ARGS)

audit: ## known vulnerabilities of everything pinned in requirements/
	$(nox) -s audit

lint: ## ruff: rules and format
	$(nox) -s lint

types: ## mypy and pyright, both strict, and the types of the public API and of the code in docs/
	$(nox) -s types

proto: ## write generated/ from proto/
	$(nox) -s program -- scripts/generate.py

check-proto: ## compare generated/ with proto/
	$(nox) -s program -- scripts/generate.py --check

wheel: ## build the sdist and the wheel into dist/ and check them
	$(nox) -s wheel

bench: ## measure latency, throughput and memory
	$(nox) -s program -- benchmarks/run.py $(ARGS)

matrix: ## how calls end: instrumented or not, on four versions of grpcio and each event loop
	$(nox) -s matrix $(arguments)

soak: ## make many calls under faults
	$(nox) -s program -- benchmarks/soak.py $(ARGS)

recovery: ## measure how long a watch takes to recover from each kind of fault
	$(nox) -s program -- benchmarks/recovery.py $(ARGS)

docs: ## build the documentation site into build/docs
	$(nox) -s docs

screens: ## update the screens in docs/cli.md and docs/cli.svg
	$(nox) -s program -- scripts/screens.py

fault-times: ## measure the times to error in docs/errors.md
	$(nox) -s program -- scripts/fault_times.py

dev: ## .venvs/dev: an editable install with every tool
	$(nox) -s dev

clean: ## remove environments, builds and caches
	rm -rf .venvs build dist .coverage-data .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' Makefile | while IFS='|' read -r target text; do \
		printf '  make %-14s %s\n' "$$target" "$$text"; done
