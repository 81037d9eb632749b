SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

BIN := .venv/bin

.PHONY: help setup editor test lint format-check style types layers unit lab-test crash crash-lab demo bench test-all-pythons clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | sort | \
		while IFS=$$'\t' read -r target help; do printf '  make %-18s %s\n' "$$target" "$$help"; done

setup:  ## install what is missing: Debian packages for the lab, .venv from uv.lock; says so before
	@scripts/setup

editor: setup
	@scripts/setup editor

test: setup lint unit lab-test  ## every check and every test, after set-up

lint: format-check style types layers  ## format, lint, types, layers

format-check: setup
	@scripts/stage format $(BIN)/ruff format --check .

style: setup
	@scripts/stage lint $(BIN)/ruff check .

types: setup
	@scripts/stage types $(BIN)/mypy

layers: setup
	@scripts/stage layers $(BIN)/lint-imports

unit: setup  ## the tests that start no server
	@scripts/stage 'unit tests' $(BIN)/pytest -m 'not lab and not alone' -n auto --dist worksteal
	@scripts/stage 'limits' $(BIN)/pytest -m alone

lab-test: editor  ## the tests against real programs: HAProxy and Postfix on loopback, the editors' language server
	@scripts/stage 'lab tests' $(BIN)/pytest -m lab -n 2 --dist loadfile

crash: setup  ## kill the orchestrator at every point of every runbook, on simulated sites; prints what came of it
	@scripts/stage 'crash points' $(BIN)/pytest -q --every-point tests/crash/test_every_point.py

crash-lab: setup  ## the same for the main runbook on real HAProxy and Postfix; half an hour. CRASH_LAB_SHARD=0/3: a third
	@$(BIN)/python -m tests.crash.lab_points

demo: setup  ## a maintenance on two real sites on this machine, from plan to return
	@scripts/demo

bench: setup  ## speed, as ratios measured in one run; and the drain against its lower limit
	@$(BIN)/python benchmarks/run.py

test-all-pythons: setup  ## the unit tests on each supported Python that is here
	@scripts/all-pythons

clean:  ## remove what was made here: .venv, caches, builds
	rm -rf .venv tests/editor/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
