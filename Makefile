# make demo: the whole flow on scikit-learn's digits.  make test: lint, format, types and all tests but
# those that take long.  make test-slow: those.  make test-all: both, which is what CI checks.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(abspath $(VENV))/bin
# Fewer seeds than the default of 12 make a quicker, less certain demo: make demo SEEDS=3
SEEDS_FLAG := $(if $(SEEDS), --seeds $(SEEDS))

# nproc itself minds OMP_NUM_THREADS, which is about the threads of one process.
CORES ?= $(shell env -u OMP_NUM_THREADS nproc 2>/dev/null || echo 2)

# Small models on few cores: two threads on one core lose to one, so processes are used instead.
export OMP_NUM_THREADS ?= 1

.PHONY: install demo test test-slow test-all lint bench clean

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml
	@echo "\$$ $(PYTHON) -m venv $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is wanted; found " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV)
	@echo "\$$ $(VENV)/bin/pip install -e '.[dev,ray,pytorchcv]'   (about 6 GB with torch; some minutes)"
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev,ray,pytorchcv]'
	@touch $@

# Steps print the command they run, so that it can be repeated by hand.
define step
	@echo; echo "\$$ $(1)"; PATH="$(BIN):$$PATH" $(1)
endef

demo: install
	$(call step,zoo fetch digits-cnn)
	$(call step,harness eval --model digits-cnn --defense dpsgd --risk extraction$(SEEDS_FLAG))
	$(call step,harness eval --model digits-cnn --defense none$(comma)dpsgd --risk evasion$(comma)membership-inference$(SEEDS_FLAG))
	$(call step,harness compare)
	$(call step,leaderboard build --out site)

comma := ,

# With the time of the longest tests; tests/benchmarks/slow_tests.py reads all times from the reports.
REPORTS := build/tests
PYTEST := $(BIN)/pytest -n $(CORES) --dist loadfile --durations=30

test: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(PYTEST) -m "not slow and not whole" --junitxml=$(REPORTS)/quick.xml

test-slow: install
	$(PYTEST) -m "slow or whole" --junitxml=$(REPORTS)/slow.xml

# One after the other also under make -j: both would use all cores.
test-all:
	$(MAKE) test
	$(MAKE) test-slow
	$(BIN)/python tests/benchmarks/slow_tests.py $(REPORTS)/quick.xml $(REPORTS)/slow.xml

lint: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/pyright

# Those that need nothing but this environment; the others say at their top what they need.
BENCHMARKS := $(addprefix tests/benchmarks/,startup.py coverage.py cohort.py catalog.py knn_shapley.py)

bench: install
	@for script in $(BENCHMARKS); do echo; echo "\$$ python $$script"; $(BIN)/python $$script; done

clean:
	rm -rf $(VENV) site build dist
