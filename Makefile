# Each target makes the environment where it is absent. PYTHON chooses the interpreter: make demo PYTHON=python3.12
PYTHON ?= python3
BIN := .venv/bin

.PHONY: env demo test test-gpu check format bench clean

env: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "lstm-relay needs Python 3.10 or newer; name one: make env PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: env
	$(BIN)/python -m workflows train demo
	$(BIN)/python -m workflows train demo --name demo-plain --set retention.method=none --workers 0
	$(BIN)/python -m workflows report demo --against demo-plain

# What needs no Ray runs beside what does: each keeps about one core busy.
test: env
	@$(BIN)/python -m pytest -q -m "not ray" > .without-ray.log 2>&1 & without=$$!; \
	$(BIN)/python -m pytest -q -m ray; with=$$?; \
	wait $$without; without=$$?; cat .without-ray.log; rm .without-ray.log; exit $$((with | without))

test-gpu: env
	$(BIN)/python -m pytest -q -m gpu

check: env
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: env
	for file in tests/benchmarks/*.py; do $(BIN)/python $$file || exit 1; done
	$(BIN)/python tests/benchmarks/common/table.py README.md

format: env
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
