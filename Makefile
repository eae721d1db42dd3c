# `make help` lists the targets. Everything is installed into $(VENV), at the versions of constraints.txt.
PYTHON ?= $(firstword $(foreach p,python3 python3.12 python3.11,$(shell $(p) -c 'import sys; (3, 11) <= sys.version_info < (3, 13) and print("$(p)")' 2>/dev/null)))
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo figures reproduce test fuzz lint clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 10

$(INSTALLED): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 or 3.12 is needed; name it: make PYTHON=/path/to/python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

setup: $(INSTALLED)  ## make the environment in .venv (5 GB with PyTorch's GPU build; a second call is instant)

demo: $(INSTALLED)  ## 2-BALD and random acquisition on bundled digits: a table of rounds and a picture of learning curves
	$(BIN)/python run.py -m experiment=demo method=2bald,random out=runs/demo
	$(BIN)/python scripts/learning_curves.py runs/demo --output runs/demo/learning_curves.png

# What `figures` draws from, and where `reproduce` records. PROTOCOL=cpu, SEEDS=0,1,2, SWEEP (further overrides of the
# sweeps), DATA (folder of downloads), FIGURE3 (of that figure) and BENCH (arguments of the benchmark) change what it does.
RESULTS ?= results
REPRODUCTION ?= runs/reproduction
PROTOCOL ?=
SEEDS ?= 0,1,2,3,4
SWEEP ?=
FIGURE3 ?=
BENCH ?=
DATA ?= data
CURVES = data.root=$(DATA) out=$(REPRODUCTION)/learning_curves seed=$(SEEDS) $(if $(PROTOCOL),protocol=$(PROTOCOL)) $(SWEEP)

figures: $(INSTALLED)  ## rebuild every figure and table from the records in results/ (RESULTS=FOLDER for others)
	$(BIN)/python scripts/make_figures.py --results $(RESULTS)

reproduce: $(INSTALLED)  ## make such records from nothing in runs/reproduction, then the figures; hours on a GPU (sweeps go on if stopped)
	$(BIN)/python run.py -m experiment=figure1 $(CURVES)
	$(BIN)/python run.py -m experiment=figure2 $(CURVES)
	$(BIN)/python scripts/score_progression.py experiment=figure3 data.root=$(DATA) out=$(REPRODUCTION) $(FIGURE3)
	$(BIN)/python scripts/acquired_images.py $(REPRODUCTION) --data $(DATA)
	$(BIN)/python scripts/bench_acquisition.py --data $(DATA) --output $(REPRODUCTION)/bench_acquisition $(BENCH)
	$(BIN)/python scripts/make_figures.py --results $(REPRODUCTION)

test: $(INSTALLED)  ## run the tests
	$(BIN)/python -m pytest

fuzz: $(INSTALLED)  ## try thousands of random settings, files and tensors, and count how they end (some 10 minutes)
	$(BIN)/python -m pytest tests/test_fuzz.py --hypothesis-profile=fuzz

lint: $(INSTALLED)  ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:  ## remove the environment and caches; runs/ and data/ stay
	rm -rf $(VENV) .pytest_cache .hypothesis .ruff_cache *.egg-info
