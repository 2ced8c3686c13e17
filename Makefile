PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: setup demo test test-hosts lint clean
.DEFAULT_GOAL := help

help:
	@echo "make setup  an environment with everything, in .venv"
	@echo "make demo   set up and expand the embedded sample: 800 images from 200, in minutes on a CPU"
	@echo "make test   set up and run the tests"
	@echo "make test-hosts  those of several processes that work together"
	@echo "make lint   set up and run ruff, mypy, shellcheck and hadolint"

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

test-hosts: .venv/installed
	$(BIN)/python -m pytest -m multihost -n 0

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/shellcheck .ci/run launch/*.sh launch/*/*.sh launch/*/*.sbatch
	$(BIN)/hadolint launch/docker/Dockerfile.*

clean:
	rm -rf .venv runs .pytest_cache .mypy_cache .ruff_cache *.egg-info
