#!/usr/bin/env bash
# A Cloud TPU slice as a queued resource: ask for it, install, run a command on all of its hosts.
set -euo pipefail

usage() {
  cat >&2 <<'TEXT'
usage: launch/tpu_vm.sh COMMAND

  create                  ask for the slice (a queued resource and its TPU VM, both named $TPU)
  wait                    until it is ACTIVE
  install                 copy this checkout to every host and install it there
  run ENTRY [ARGUMENT]…   python -m dreamda_jax.ENTRY ARGUMENT… on every host, in the foreground
  keep ENTRY [ARGUMENT]…  all of the above, again after every preemption; deletes the slice when done
  stop                    SIGTERM to what `run` started, which saves and ends
  status                  the state of the queued resource
  delete                  give the slice back

variables:
  TPU, ZONE               name of the queued resource, and its zone
  ACCELERATOR_TYPE        such as v5litepod-16
  RUNTIME_VERSION         such as v2-alpha-tpuv5-lite
  PROJECT                 default: gcloud's
  SPOT                    1 (default) or 0, on demand
  CREATE_FLAGS            further flags of `gcloud compute tpus queued-resources create`
  EXTRAS                  extras of the package to install (default tpu)
  JAX_COMPILATION_CACHE_DIR  on the hosts, or gs://… (default: a directory of each host)
  MAX_RESTARTS            how often `keep` asks for a new slice or starts again (default 20)
  POLL_SECONDS            how often to look at the state (default 60)
TEXT
  exit 2
}

root=$(cd "$(dirname "$0")/.." && pwd)
: "${SPOT:=1}" "${EXTRAS:=tpu}" "${MAX_RESTARTS:=20}" "${POLL_SECONDS:=60}"

tpus() {
  gcloud compute tpus "$@" --zone="$ZONE" ${PROJECT:+--project="$PROJECT"}
}

on_all_hosts() {
  tpus tpu-vm ssh "$TPU" --worker=all --command="$1"
}

state() {
  tpus queued-resources describe "$TPU" --format="value(state.state)"
}

create() {
  local more flags=(
    --accelerator-type="${ACCELERATOR_TYPE:?such as v5litepod-16}"
    --runtime-version="${RUNTIME_VERSION:?such as v2-alpha-tpuv5-lite}"
    --node-id="$TPU"
  )
  if [ "$SPOT" = 1 ]; then flags+=(--spot); fi
  read -ra more <<<"${CREATE_FLAGS:-}"
  tpus queued-resources create "$TPU" "${flags[@]}" ${more[@]+"${more[@]}"}
}

# Fails where the request ended without a slice, as after a preemption.
wait_until_active() {
  local now
  while true; do
    now=$(state) || return 1
    case $now in
      ACTIVE) return 0 ;;
      FAILED | SUSPENDING | SUSPENDED | DELETING) echo "$TPU is $now" >&2; return 1 ;;
    esac
    echo "$TPU is $now"
    sleep "$POLL_SECONDS"
  done
}

# uv brings the Python that the package wants; the image's own may be older. The pins make all hosts
# alike: programs that differ between hosts wait for each other for ever.
install() {
  local archive
  archive=$(mktemp -d)/dreamda_jax.tar.gz || return
  tar -C "$root" --exclude=__pycache__ -czf "$archive" \
    dreamda_jax configs constraints pyproject.toml README.md LICENSE NOTICE || return
  tpus tpu-vm scp "$archive" "$TPU:" --worker=all || return
  rm -r "${archive%/*}"
  on_all_hosts "set -e
mkdir -p dreamda_jax
tar -C dreamda_jax -xzf dreamda_jax.tar.gz
cd dreamda_jax
command -v ~/.local/bin/uv || curl -LsSf https://astral.sh/uv/install.sh | sh
~/.local/bin/uv venv --allow-existing --python 3.12 .venv
~/.local/bin/uv pip install --python .venv/bin/python --constraint constraints/newest.txt --editable '.[$EXTRAS]'"
}

run() {
  local entry=${1:?usage: run ENTRY [ARGUMENT]…} arguments=""
  shift
  if [ $# -gt 0 ]; then arguments=$(printf ' %q' "$@"); fi
  # shellcheck disable=SC2016  # $HOME is the host's
  local cache='"$HOME/.cache/dreamda_jax/compilation"'
  if [ -n "${JAX_COMPILATION_CACHE_DIR:-}" ]; then
    cache=$(printf '%q' "$JAX_COMPILATION_CACHE_DIR")
  fi
  on_all_hosts "cd dreamda_jax && export JAX_COMPILATION_CACHE_DIR=$cache && exec .venv/bin/python -m dreamda_jax.$entry$arguments"
}

keep() {
  local code=0 restarts
  for ((restarts = 0; restarts <= MAX_RESTARTS; restarts++)); do
    state >/dev/null 2>&1 || create
    if wait_until_active; then
      code=0
      { install && run "$@"; } || code=$?
      if [ "$code" -eq 0 ]; then delete; return 0; fi
      sleep "$POLL_SECONDS" # a preemption shows in the state only after a while
      if [ "$(state)" = ACTIVE ]; then
        case $code in
          143 | 255) continue ;; # it was told to stop; the connection broke
          *) echo "$TPU is still there and costs money: launch/tpu_vm.sh delete" >&2; return "$code" ;;
        esac
      fi
    fi
    delete
  done
  echo "gave up after $MAX_RESTARTS restarts" >&2
  return 1
}

stop() {
  # The brackets keep pkill from finding the shell whose command this is.
  on_all_hosts "pkill -TERM -f -- '-m dreamda_jax[.]'"
}

delete() {
  tpus queued-resources delete "$TPU" --force --quiet
}

if [ $# -eq 0 ]; then usage; fi
command=$1
shift
: "${TPU:?the name of the queued resource}" "${ZONE:?such as us-central1-a}"
case $command in
  wait) wait_until_active ;;
  status) state ;;
  create | install | run | keep | stop | delete) "$command" "$@" ;;
  *) usage ;;
esac
