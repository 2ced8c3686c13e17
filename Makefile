PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: setup demo test test-quick test-all test-hosts lint clean
.DEFAULT_GOAL := help

help:
	@echo "make setup  an environment with everything, in .venv"
	@echo "make demo   set up and expand the embedded sample: 800 images from 200, in minutes on a CPU"
	@echo "make test   set up and run the tests"
	@echo "make test-quick  a minute: numerics, the rules of the tree, one run from end to end"
	@echo "make test-all    also the slow ones, and those of several processes that work together"
	@echo "make test-hosts  only the latter"
	@echo "make lint   set up and run ruff, mypy, shellcheck and hadolint, and build the package"

# One environment for everything, from nothing but Python 3.11. Installed again when the pins change.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

setup: .venv/installed

demo: .venv/installed
	$(BIN)/python -m dreamda_jax.generate --config configs/fashion.py

test: .venv/installed
	$(BIN)/python -m pytest

QUICK := tests/test_structure.py tests/test_docs.py tests/algorithms/metrics tests/data/sets tests/settings \
  tests/algorithms/diffusion/test_schedule.py tests/algorithms/diffusion/test_steps.py \
  tests/algorithms/diffusion/test_inversion.py tests/algorithms/selftrain/test_losses.py \
  tests/models/stable_diffusion/test_corrections.py tests/models/weights \
  tests/generate/test_generate.py::test_the_set_is_complete_and_readable

test-quick: .venv/installed
	$(BIN)/python -m pytest $(QUICK)

# Several processes of a test share the cores already, so those go one after the other.
test-all: .venv/installed
	$(BIN)/python -m pytest -m 'not multihost and not parity and not aot'
	$(BIN)/python -m pytest -m multihost -n 0

test-hosts: .venv/installed
	$(BIN)/python -m pytest -m multihost -n 0

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/shellcheck .ci/run launch/*.sh launch/*/*.sh launch/*/*.sbatch
	$(BIN)/hadolint launch/docker/Dockerfile.*
	rm -rf build dist
	$(BIN)/python -m build --no-isolation --outdir dist . > /dev/null
	$(BIN)/twine check --strict dist/*

clean:
	rm -rf .venv runs build dist .pytest_cache .mypy_cache .ruff_cache *.egg-info
