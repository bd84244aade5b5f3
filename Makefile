# make demo        train a small chat model on this machine and talk to it, five to twelve minutes, by the CPU
# make test        run the tests; make test-all adds the slow ones
# make chaos       kill, fill and damage real runs on this machine, and prove that nothing is lost
# make benchmarks  measure every claim on this machine, which is to do nothing else: three quarters of an hour; PEERS= names
#                  what to compare with (benchmarks/README.md)
# make check       formatting, lint, types, floors, spelling, generated docs
# Each makes its own .venv first; PYTHON names another interpreter.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# Python keeps what it compiles: tests start a thousand processes
export PYTHONDONTWRITEBYTECODE :=

# a test process for each core; `make test WORKERS=` runs them in one
WORKERS := -n auto --maxprocesses 4 --dist worksteal

.PHONY: demo test test-all chaos benchmarks check format docs wheel clean

demo: $(VENV)/.installed
	$(BIN)/tinychat demo

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest $(WORKERS)

test-all: $(VENV)/.installed-test
	$(BIN)/python -m pytest $(WORKERS) -m 'not gpu and not network'

# all 100 kills, 30 signals, 20 races and each fault; on two cores about half an hour
chaos: $(VENV)/.installed
	$(BIN)/tinychat chaos --all

benchmarks: $(VENV)/.installed-test
	$(BIN)/python benchmarks/all.py $(PEERS)

check: $(VENV)/.installed-check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/python docs/make_reference.py --check

format: $(VENV)/.installed-check
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.installed-check
	$(BIN)/python docs/make_reference.py

wheel: $(VENV)/.installed-test
	$(BIN)/python -m build --wheel

clean:
	rm -rf $(VENV) dist

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing tinychat into $(VENV) (about a minute and 1.7 GB) ..."
	$(PIP) -e .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) -e '.[test]'
	@touch $@

$(VENV)/.installed-check: $(VENV)/.installed-test
	$(PIP) -e '.[test,check]'
	@touch $@
