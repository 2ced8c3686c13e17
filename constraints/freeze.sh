#!/usr/bin/env bash
# Writes the constraints beside this file: what pip installs on Linux today, and the oldest that
# pyproject.toml allows. Needs uv (pip install uv).
set -euo pipefail
cd "$(dirname "$0")/.."

compile() {
  uv pip compile --quiet --upgrade --no-annotate --no-header "$@"
}

compile --python-version 3.12 --extra dev pyproject.toml --output-file constraints/newest.txt
compile --python-version 3.11 --extra dev pyproject.toml --output-file constraints/py311.txt

# The oldest of what the package needs, and tests that are today's.
oldest=$(mktemp)
trap 'rm "$oldest"' EXIT
compile --python-version 3.11 --resolution lowest-direct --extra diffusers pyproject.toml \
  --output-file "$oldest"
compile --python-version 3.11 --extra dev --extra diffusers --constraint "$oldest" pyproject.toml \
  --output-file constraints/oldest.txt
