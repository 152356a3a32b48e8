# Two commands for a new user: `make demo` and `make test`. Both make .venv first if it is not there.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# torch first, and this build: the newest one would pull several gigabytes of CUDA packages
TORCH ?= torch==2.13.0
DEMO ?= runs/demo

.PHONY: demo test test-all lint bench clean
.DELETE_ON_ERROR:

$(VENV)/ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check "$(TORCH)"
	$(BIN)/pip install -q --disable-pip-version-check -e '.[dev]'
	touch $@

# Train the authors' small network on the 12,000 digits of MNIST-rot for a few epochs, test it, draw two pictures.
demo: $(VENV)/ready
	rm -rf $(DEMO)
	$(BIN)/pdoconv train mnist-rot-small --train-on all --epochs 7 --weight-decay 0.05 --label-smoothing 0 --dropout 0.1 --run $(DEMO)
	$(BIN)/pdoconv measure $(DEMO)

test: $(VENV)/ready lint
	$(BIN)/python -m pytest

test-all: $(VENV)/ready lint
	$(BIN)/python -m pytest -m ""

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/ready
	$(BIN)/python benchmarks/layer_speed.py
	$(BIN)/python benchmarks/volume_speed.py

clean:
	rm -rf $(VENV) runs .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
