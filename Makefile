# The newest Python from 3.11 on that runs: pyenv's shims answer to names of which no version is set.
ifndef PYTHON
PYTHON := $(shell for name in python3.14 python3.13 python3.12 python3.11 python3; do \
  if $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo $$name; break; fi; done)
endif
BIN := .venv/bin
# JAX ended its support of Python 3.11 with 0.11.
PINS := constraints/$(shell $(PYTHON) -c 'import sys; print("newest" if sys.version_info >= (3, 12) else "py311")' 2>/dev/null).txt

.PHONY: setup demo test test-quick test-all test-hosts test-oldest lint freeze clean
.DEFAULT_GOAL := help

help:
	@echo "make setup  an environment with everything, in .venv"
	@echo "make demo   set up and expand the embedded sample: 800 images from 200, in minutes on a CPU"
	@echo "make test   set up and run the tests"
	@echo "make test-quick  a minute: numerics, the rules of the tree, one run from end to end"
	@echo "make test-all    also the slow ones, and those of several processes that work together"
	@echo "make test-hosts  only the latter"
	@echo "make test-oldest  as test-quick, with the oldest versions that are allowed; needs python3.11"
	@echo "make lint   set up and run ruff, mypy, shellcheck and hadolint, and build the package"

# One environment for everything, from nothing but Python. Installed again when the pins change.
.venv/installed: pyproject.toml constraints/newest.txt constraints/py311.txt
	@$(if $(PYTHON),:,echo "no Python 3.11 or newer found: install one, or give it as PYTHON=..." >&2; exit 1)
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint $(PINS) --editable '.[dev]'
	touch $@

.venv-oldest/installed: pyproject.toml constraints/oldest.txt
	python3.11 -m venv --clear .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --upgrade pip
	.venv-oldest/bin/python -m pip install --quiet --constraint constraints/oldest.txt --editable '.[dev,diffusers]'
	touch $@

setup: .venv/installed

demo: .venv/installed
	$(BIN)/python -m dreamda_jax.generate --config configs/fashion.py

test: .venv/installed
	$(BIN)/python -m pytest

QUICK := tests/test_structure.py tests/test_docs.py tests/algorithms/metrics tests/data/sets tests/settings \
  tests/algorithms/diffusion/test_schedule.py tests/algorithms/diffusion/test_steps.py \
  tests/algorithms/diffusion/test_inversion.py tests/algorithms/selftrain/test_losses.py \
  tests/models/stable_diffusion/networks tests/models/stable_diffusion/test_flax_pipeline.py tests/models/weights tests/models/test_tokenizer_ids.py \
  tests/generate/test_generate.py::test_the_set_is_complete_and_readable

test-quick: .venv/installed
	$(BIN)/python -m pytest $(QUICK)

test-oldest:
	@if python3.11 -c '' 2>/dev/null; then \
	  $(MAKE) --no-print-directory .venv-oldest/installed && .venv-oldest/bin/python -m pytest $(QUICK); \
	else echo "no python3.11 here: the oldest versions are not tested"; fi

# Several processes of a test share the cores already, so those go one after the other.
test-all: .venv/installed
	$(BIN)/python -m pytest -m 'not multihost and not parity and not aot and not network'
	$(BIN)/python -m pytest -m multihost -n 0

test-hosts: .venv/installed
	$(BIN)/python -m pytest -m multihost -n 0

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/shellcheck .ci/run constraints/*.sh launch/*.sh launch/*/*.sh launch/*/*.sbatch
	$(BIN)/hadolint launch/docker/Dockerfile.*
	rm -rf build dist
	$(BIN)/python -m build --no-isolation --outdir dist . > /dev/null
	$(BIN)/twine check --strict dist/*

# What pip installs today and the oldest that is allowed, into constraints/.
freeze: .venv/installed
	$(BIN)/python -m pip install --quiet uv
	PATH="$(CURDIR)/$(BIN):$$PATH" constraints/freeze.sh

clean:
	rm -rf .venv .venv-oldest runs build dist .pytest_cache .mypy_cache .ruff_cache *.egg-info
