# Each target makes the environment where it is absent. PYTHON chooses the interpreter: make demo PYTHON=python3.12
PYTHON ?= python3
BIN := .venv/bin

OLDEST := .venv-oldest

.PHONY: env demo test test-slow test-oldest test-gpu check format bench bench-large bench-gpu clean

env: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "lstm-relay needs Python 3.11 or newer; name one: make env PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: env
	$(BIN)/python -m workflows train demo
	$(BIN)/python -m workflows train demo --name demo-plain --set retention.method=none --workers 0
	$(BIN)/python -m workflows report demo --against demo-plain

# In three parts beside each other: a test that starts Ray mostly waits. Without the niceness of Ray's workers, 15 by default,
# they would wait for the other parts.
CLUSTERS := tests/training/test_failures.py tests/training/test_leaks.py tests/search/test_search.py tests/cluster/test_submit.py \
	tests/cluster/test_machines.py tests/cluster/test_doctor.py tests/store/test_object_storage.py tests/data/test_running.py \
	tests/training/test_reporting.py
OTHERS := $(CLUSTERS:%=--ignore=%)
test: export RAY_worker_niceness = 0
test: env
	@$(BIN)/python -m pytest -q -m "not long" -p no:cacheprovider $(CLUSTERS) > .clusters.log 2>&1 & clusters=$$!; \
	$(BIN)/python -m pytest -q -m "ray and not long" -p no:cacheprovider $(OTHERS) > .ray.log 2>&1 & ray=$$!; \
	$(BIN)/python -m pytest -q -m "not ray and not long" $(OTHERS); others=$$?; \
	wait $$ray; ray=$$?; wait $$clusters; clusters=$$?; cat .ray.log .clusters.log; rm .ray.log .clusters.log; \
	exit $$((others | ray | clusters))

# Takes what is too long for every change: the same checks with more rounds, kills and data.
test-slow: env
	$(BIN)/python -m pytest -q -m long

# The tests that carry Ray, on the oldest supported version, in an environment of its own.
RAY_OLDEST := 2.52.0
test-oldest: $(OLDEST)/installed
	$(OLDEST)/bin/python -m pytest -q -m "ray and not long" -p no:cacheprovider

$(OLDEST)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(OLDEST)
	sed 's/^ray==.*/ray==$(RAY_OLDEST)/' constraints.txt > $(OLDEST)/constraints.txt
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check -c $(OLDEST)/constraints.txt -e '.[dev]'
	@touch $@

test-gpu: env
	$(BIN)/python -m pytest -q -m gpu

check: env
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# bench-large needs 30 GB of disk, bench-gpu a GPU.
bench: env
	for file in $(filter-out %/gpu.py %/large_layouts.py,$(wildcard tests/benchmarks/*.py)); do $(BIN)/python $$file || exit 1; done
	$(BIN)/python tests/benchmarks/common/table.py BENCHMARKS.md

bench-large: env
	$(BIN)/python tests/benchmarks/large_layouts.py

bench-gpu: env
	$(BIN)/python tests/benchmarks/gpu.py

format: env
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv $(OLDEST) .mypy_cache .ruff_cache .pytest_cache .hypothesis
