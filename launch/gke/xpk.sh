#!/usr/bin/env bash
# python -m dreamda_jax.ENTRY on every host of a TPU slice of GKE, as a workload of XPK.
set -euo pipefail

usage() {
  cat >&2 <<'TEXT'
usage: launch/gke/xpk.sh ENTRY [ARGUMENT]…

variables:
  WORKLOAD      name of the workload
  CLUSTER       a cluster made by XPK
  ZONE, PROJECT of the cluster
  TPU_TYPE      such as v5litepod-16
  IMAGE         made with launch/docker/Dockerfile.tpu, where the cluster can read it
  JAX_COMPILATION_CACHE_DIR  gs://…, or a directory of a storage that all hosts mount
  MAX_RESTARTS  how often XPK starts the workload again (default 20)
  XPK_FLAGS     further flags of `xpk workload create`, such as --storage=NAME
TEXT
  exit 2
}

if [ $# -eq 0 ]; then usage; fi
entry=$1
shift
arguments=""
if [ $# -gt 0 ]; then arguments=$(printf ' %q' "$@"); fi
read -ra more <<<"${XPK_FLAGS:-}"

# XPK runs the command in a sub-shell and signals that; exec makes it our process. It starts again by
# itself after a signal (codes from 127); 1 is what the hosts end with that lost another one.
exec xpk workload create \
  --workload="${WORKLOAD:?name of the workload}" \
  --cluster="${CLUSTER:?a cluster made by XPK}" \
  --zone="${ZONE:?of the cluster}" \
  --project="${PROJECT:?of the cluster}" \
  --tpu-type="${TPU_TYPE:?such as v5litepod-16}" \
  --docker-image="${IMAGE:?made with launch/docker/Dockerfile.tpu}" \
  --max-restarts="${MAX_RESTARTS:-20}" \
  --restart-on-exit-codes=1 \
  --termination-grace-period-seconds=60 \
  --env="JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:?gs://… or a mounted directory}" \
  ${more[@]+"${more[@]}"} \
  --command="exec python -m dreamda_jax.$entry$arguments"
