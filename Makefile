# `make help` lists the targets. Everything is installed into $(VENV), at the versions of constraints.txt.
PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11,$(shell $(p) -c 'import sys; (3, 11) <= sys.version_info < (3, 14) and print("$(p)")' 2>/dev/null)))
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo report figures reproduce studies test test-slow fuzz bench lint docs dist clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 10

$(INSTALLED): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 to 3.13 is needed; name it: make PYTHON=/path/to/python3.13"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

setup: $(INSTALLED)  ## make the environment in .venv (5 GB with PyTorch's GPU build; a second call is instant)

demo: $(INSTALLED)  ## 2-BALD and random acquisition on bundled digits: a table of rounds, a picture and a report page
	$(BIN)/python run.py -m experiment=demo method=2bald,random out=runs/demo
	$(BIN)/python scripts/learning_curves.py runs/demo --output runs/demo/learning_curves.png
	$(BIN)/python -m alkbald.report runs/demo --output runs/demo/report.html

report: $(INSTALLED)  ## a page about all runs in RUNS_OF_REPORT (runs), in REPORT (report.html); images from DATA
	$(BIN)/python -m alkbald.report $(RUNS_OF_REPORT) --output $(REPORT) --data $(DATA)

RUNS_OF_REPORT ?= runs
REPORT ?= report.html

# What `figures` draws from, and where `reproduce` and `studies` record. PROTOCOL=cpu, SEEDS=0,1,2, SWEEP (further
# overrides of the sweeps), DATA (folder of downloads), FIGURE3 and TABLE1 (overrides of these), LABELS and CONJECTURE
# (labelled-set sizes whose models are studied) change what they do.
RESULTS ?= results
PROTOCOL ?=
REPRODUCTION ?= runs/reproduction$(addprefix -,$(PROTOCOL))
SEEDS ?= 0,1,2,3,4
SWEEP ?=
FIGURE3 ?=
TABLE1 ?=
LABELS ?= 20 100 300
CONJECTURE ?= 20 60 100 140 180 220 260 300
DATA ?= data
RUNS = data.root=$(DATA) seed=$(SEEDS) $(if $(PROTOCOL),protocol=$(PROTOCOL)) $(SWEEP)
comma := ,
STUDIED = $(REPRODUCTION)/learning_curves/*/2bald/acq_size=20/seed=$(firstword $(subst $(comma), ,$(SEEDS)))-* --data $(DATA)

figures: $(INSTALLED)  ## rebuild every figure and table from the records in results/ (RESULTS=FOLDER for others)
	$(BIN)/python scripts/make_figures.py --results $(RESULTS)

reproduce: $(INSTALLED)  ## make such records from nothing in runs/reproduction (or -cpu), then the figures; hours on a GPU (sweeps go on if stopped)
	$(BIN)/python run.py -m experiment=figure1 out=$(REPRODUCTION)/learning_curves $(RUNS)
	$(BIN)/python run.py -m experiment=figure2 out=$(REPRODUCTION)/learning_curves $(RUNS)
	$(BIN)/python run.py -m curve=2bald-10,batchbald-5,batchbald-10 data.noise=0 out=$(REPRODUCTION)/learning_curves $(RUNS)
	$(BIN)/python scripts/score_progression.py experiment=figure3 data.root=$(DATA) out=$(REPRODUCTION) $(FIGURE3)
	$(BIN)/python scripts/table1.py experiment=table1 data.root=$(DATA) out=$(REPRODUCTION) $(TABLE1)
	$(BIN)/python scripts/acquired_images.py $(REPRODUCTION) --data $(DATA)
	$(BIN)/python scripts/make_figures.py --results $(REPRODUCTION)

studies: $(INSTALLED)  ## after `reproduce`: what the paper proposes and leaves open, recorded beside it; hours on a GPU
	$(BIN)/python run.py -m experiment=dynamic out=$(REPRODUCTION)/learning_curves $(RUNS)
	$(BIN)/python run.py -m experiment=ceiling out=$(REPRODUCTION)/ceiling $(RUNS)
	$(BIN)/python scripts/approximation_quality.py $(STUDIED) --labels $(LABELS) --output $(REPRODUCTION)/quality
	$(BIN)/python scripts/approximation_quality.py $(STUDIED) --labels $(CONJECTURE) --methods BALD BatchBALD --largest 5 --output $(REPRODUCTION)/conjecture
	$(BIN)/python scripts/ceiling.py $(STUDIED) --labels $(LABELS) --output $(REPRODUCTION)/ceiling
	$(BIN)/python scripts/make_figures.py --results $(REPRODUCTION)

# WORKERS: processes that test side by side, each on one thread. auto: one a core, at most 4 (see tests/conftest.py).
WORKERS ?= auto
PYTEST = $(BIN)/python -m pytest --durations=15 --numprocesses=$(WORKERS) --dist=loadfile

test: $(INSTALLED)  ## run the tests but the slow ones, and print the slowest of them
	$(PYTEST) -m 'not slow'

test-slow: $(INSTALLED)  ## run the slow tests: kills, sweeps of several processes, whole programs
	$(PYTEST) -m slow

fuzz: $(INSTALLED)  ## try thousands of random settings, files and tensors, and count how they end (some 10 minutes)
	$(BIN)/python -m pytest tests/test_fuzz.py tests/test_fuzz_pools.py --hypothesis-profile=fuzz

# What `bench` measures into, the checkout of an older commit that it measures beside (none: these parts are left out), and
# sizes: 60,000 points, as on record.
BENCH ?= runs/bench
OLDER ?=
POINTS ?= 60000

bench: $(INSTALLED)  ## ten minutes of benchmarks (two more with OLDER=...), printed beside the last ones on record of the same processor (nothing else may run)
	$(BIN)/python scripts/bench_acquisition.py --quick --repeats 3 --data $(DATA) --pool $(POINTS) --output $(BENCH)/bench_acquisition
	$(BIN)/python scripts/bench_methods.py --quick --data $(DATA) --pool $(POINTS) --output $(BENCH)/bench_methods
	$(BIN)/python scripts/bench_large_pools.py --quick --points $(POINTS) --output $(BENCH)/bench_large_pools
	$(BIN)/python scripts/bench_inference.py --quick --repeats 1 --data $(DATA) --output $(BENCH)/bench_inference
	$(BIN)/python scripts/bench_sharing.py --quick --epochs 6 --output $(BENCH)/bench_sharing
	$(if $(OLDER),$(BIN)/python scripts/bench_classes.py $(OLDER) --quick --repeats 1 --points 1000 --output $(BENCH)/bench_classes)
	$(if $(OLDER),$(BIN)/python scripts/bench_beside.py $(OLDER) --quick --repeats 1 --data $(DATA) --output $(BENCH)/bench_beside)
	$(BIN)/python scripts/speed_record.py $(BENCH)

lint: $(INSTALLED)  ## check style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(INSTALLED)  ## make the documentation as a site in docs/_build/html, without a network; a warning is an error
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -b html -c docs -d docs/_build/doctrees . docs/_build/html
	@echo "docs/_build/html/index.html"

dist: $(INSTALLED)  ## build the wheel and the sdist in dist/, and check them
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/python -m twine check --strict dist/*

clean:  ## remove the environment, dist/, the site and caches; runs/ and data/ stay
	rm -rf $(VENV) dist build docs/_build .pytest_cache .hypothesis .ruff_cache .mypy_cache *.egg-info
