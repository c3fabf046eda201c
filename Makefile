# Everything a person or CI types. Each target installs what it needs and says so.
SHELL := /bin/bash
.DELETE_ON_ERROR:
.PHONY: install demo test check bench campaign generate clean lock

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --no-deps

install: $(BIN)/setpoint ## .venv/bin/setpoint, from pinned and hashed dependencies

$(VENV)/.made:
	@tools/parts.sh python
	python3 -m venv $(VENV)
	@touch $@

$(BIN)/setpoint: constraints.txt pyproject.toml | $(VENV)/.made
	$(PIP) --require-hashes -r constraints.txt
	$(PIP) --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: constraints-dev.txt $(BIN)/setpoint
	$(PIP) --require-hashes -r constraints-dev.txt
	@touch $@

demo: install ## the story: declare, run, kill, healed
	@tools/parts.sh node demo
	@$(BIN)/python examples/demo.py

check: $(VENV)/.dev ## the fast gate, under two minutes
	@tools/check.sh

test: $(VENV)/.dev ## the whole suite, the real kernel included
	@tools/parts.sh node test
	@tools/test.sh

bench: $(VENV)/.dev ## side by side with dockerd and ctr, as ratios
	@tools/parts.sh node test bench
	@$(BIN)/python -m bench

campaign: $(VENV)/.dev ## the long runs: more seeds, more kills, booted machines
	@tools/parts.sh node test vm
	@tools/campaign.sh

generate: $(VENV)/.dev ## stubs, CRDs and references, from their sources
	$(BIN)/python protos/generate.py
	$(BIN)/python -m setpoint.generate
	$(BIN)/python -m setpoint.cli.reference

lock: $(VENV)/.dev ## pin the newest allowed versions, with hashes
	@tools/lock.sh

clean:
	rm -rf $(VENV) .cache dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
