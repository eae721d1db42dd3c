# `make help` lists the targets. Everything is installed into $(VENV), at the versions of constraints.txt.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 10

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

setup: $(INSTALLED)  ## make the environment in .venv (5 GB with PyTorch's GPU build; a second call is instant)

demo: $(INSTALLED)  ## 2-BALD and random acquisition on bundled digits: a table of rounds and a picture of learning curves
	$(BIN)/python run.py -m experiment=demo method=2bald,random out=runs/demo
	$(BIN)/python scripts/learning_curves.py runs/demo --output runs/demo/learning_curves.png

test: $(INSTALLED)  ## run the tests
	$(BIN)/python -m pytest

lint: $(INSTALLED)  ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:  ## remove the environment and caches; runs/ and data/ stay
	rm -rf $(VENV) .pytest_cache .hypothesis .ruff_cache *.egg-info
