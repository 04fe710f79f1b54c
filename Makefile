# One line per target; the work is in scripts/. ARGS is handed on: make test ARGS="-k watch"
PYTHON ?= python3
ARGS ?=
environment = $(PYTHON) scripts/environment.py
check = $(PYTHON) scripts/check.py

.DEFAULT_GOAL := help
.PHONY: demo test test-versions test-beside test-repeat audit lint types proto check-proto wheel bench soak recovery docs dev clean help

demo: ## a real Milvus, a real import, followed to its end
	@$(environment) demo scripts/demo.py $(ARGS)

test: ## lint, types, generated code and all tests on the built wheel; with ARGS only pytest
	@$(check) test $(ARGS)

test-versions: ## all tests on the oldest and the newest dependencies
	@$(check) versions $(ARGS)

test-beside: ## the wheel at work beside three pymilvus versions
	@$(check) beside

test-repeat: ## all tests ten times in a row, two at once, on a busy core, with all times x3
	@$(check) repeat $(ARGS)

audit: ## known weaknesses of everything pinned in requirements/
	@$(check) audit

lint: ## ruff: rules and format
	@$(check) lint

types: ## mypy and pyright, both strict
	@$(check) types

proto: ## write generated/ anew from proto/
	@$(check) proto

check-proto: ## see that generated/ is what proto/ gives
	@$(check) check-proto

wheel: ## build the sdist and the wheel into dist/
	@$(environment) wheel

bench: ## measure latency, throughput and memory
	@$(environment) bench benchmarks/run.py $(ARGS)

soak: ## run for a long time under faults
	@$(environment) check benchmarks/soak.py $(ARGS)

recovery: ## how soon a watch is back after each kind of fault
	@$(environment) check benchmarks/recovery.py

docs: ## make the pages' reference, screens and times anew, follow their links
	@$(environment) check scripts/docs.py $(ARGS)

dev: ## .venvs/dev: an editable install with everything to work on it
	@$(environment) dev

clean: ## remove environments, builds and caches
	rm -rf .venvs dist .coverage-data .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' Makefile | while IFS='|' read -r target text; do \
		printf '  make %-14s %s\n' "$$target" "$$text"; done
