"""XPK, Slurm and SkyPilot with stand-ins: hosts get what the user gave, stopped jobs run again."""

import re
import shlex

import pytest
import yaml

from tests.launch.stand_ins import ARGUMENTS, ENTRY_POINTS, LAUNCH, Cluster, name

TASKS = sorted((LAUNCH / "skypilot").glob("*.yaml"))
XPK = {
    "WORKLOAD": "pets",
    "CLUSTER": "mine",
    "ZONE": "us-central1-a",
    "PROJECT": "p",
    "TPU_TYPE": "v5litepod-16",
    "IMAGE": "image:tpu",
    "JAX_COMPILATION_CACHE_DIR": "gs://bucket/cache",
}


@pytest.mark.parametrize("entry", ENTRY_POINTS)
def test_xpk_hosts_get_the_arguments_as_they_were_given(cluster, entry):
    script = LAUNCH / "gke/xpk.sh"
    assert cluster.run(script, entry, *ARGUMENTS, **XPK, XPK_FLAGS="--storage=data --spot") == 0
    ((*call, _),) = cluster.calls("xpk")
    assert call[:2] == ["workload", "create"]
    assert {"--tpu-type=v5litepod-16", "--storage=data", "--spot"} < set(call)
    assert "--env=JAX_COMPILATION_CACHE_DIR=gs://bucket/cache" in call
    (command,) = [part.partition("=")[2] for part in call if part.startswith("--command=")]
    assert cluster.run("bash", "-c", f"({command})") == 0  # as XPK does
    assert cluster.calls("python") == [["-m", f"dreamda_jax.{entry}", *ARGUMENTS, None]]


def test_xpk_is_not_called_without_a_cluster(cluster):
    given = {key: value for key, value in XPK.items() if key != "CLUSTER"}
    assert cluster.run(LAUNCH / "gke/xpk.sh", "generate", **given) != 0
    assert "CLUSTER" in cluster.output
    assert not (cluster.where / "calls").exists()


SBATCH = LAUNCH / "slurm/gpu.sbatch"
SLURM = {"SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "32"}


@pytest.mark.parametrize("entry", ENTRY_POINTS)
def test_slurm_nodes_get_the_arguments_as_they_were_given(cluster, entry):
    assert cluster.run("bash", SBATCH, entry, *ARGUMENTS, cwd=cluster.home, **SLURM) == 0
    cache = f"{cluster.home}/runs/compilation_cache"  # beside the job's own output
    assert cluster.calls("python") == [["-m", f"dreamda_jax.{entry}", *ARGUMENTS, cache]]
    (call,) = cluster.calls("srun")
    assert {"--kill-on-bad-exit=0", "--wait=0", "--cpus-per-task=32"} < set(call)
    assert not cluster.calls("scontrol")


@pytest.mark.parametrize(
    ("code", "restarts", "again"),
    [(143, "0", True), (143, "20", False), (1, "0", False)],
    ids=["stopped", "stopped too often", "failed"],
)
def test_a_slurm_job_that_was_stopped_is_queued_again(cluster, code, restarts, again):
    cluster.set("codes", code)
    done = cluster.run("bash", SBATCH, "train", **SLURM, SLURM_RESTART_COUNT=restarts)
    assert done == code
    assert [call[:-1] for call in cluster.calls("scontrol")] == [["requeue", "7"]] * again


def test_a_slurm_job_has_one_task_on_a_node_and_time_to_save():
    options = re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", SBATCH.read_text(), re.M)
    options = dict(options)
    assert options["ntasks-per-node"] == "1"
    assert "requeue" in options
    assert options["open-mode"] == "append"  # a requeued job keeps its log
    signal, _, seconds = options["signal"].partition("@")
    assert signal == "TERM"  # to the steps; "B:" would be to the script alone
    assert int(seconds) >= 30  # dreamda_jax/runtime/interrupt.py takes 25


def skypilot(cluster: Cluster, task: dict, part: str, **variables: str) -> None:
    """Runs a part of a task as SkyPilot does: by bash, in the working directory."""
    work = cluster.home / "sky_workdir"
    work.mkdir(exist_ok=True)
    given = {key: value for key, value in task["envs"].items() if value is not None}
    assert cluster.run("bash", "-c", task[part], cwd=work, **{**given, **variables}) == 0, (
        cluster.output
    )


@pytest.mark.parametrize("entry", ENTRY_POINTS)
@pytest.mark.parametrize("path", TASKS, ids=name)
def test_skypilot_nodes_get_the_arguments_as_they_were_given(cluster, path, entry):
    task = yaml.safe_load(path.read_text())
    skypilot(cluster, task, "setup")
    skypilot(
        cluster,
        task,
        "run",
        ENTRY=entry,
        ARGUMENTS=shlex.join(ARGUMENTS),
        SKYPILOT_NODE_IPS="10.0.0.1\n10.0.0.2",
        SKYPILOT_NUM_NODES="2",
        SKYPILOT_NODE_RANK="1",
    )
    ((*call, cache),) = cluster.calls("python")
    hosts = ["--coordinator_address=10.0.0.1:8476", "--num_processes=2", "--process_id=1"]
    expected = hosts if path.stem == "gpu" else []
    assert call == ["-m", f"dreamda_jax.{entry}", *ARGUMENTS, *expected]
    assert cache == f"{cluster.home}/.cache/dreamda_jax/compilation"
    extra = {"gpu": "cuda12", "tpu": "tpu"}[path.stem]
    assert cluster.calls("uv")[-1][-2] == f".[{extra}]"


def test_skypilot_nodes_share_a_compilation_cache_where_one_is_named(cluster):
    task = yaml.safe_load((LAUNCH / "skypilot/tpu.yaml").read_text())
    skypilot(cluster, task, "setup")
    cache = "gs://bucket/my cache"
    skypilot(cluster, task, "run", ARGUMENTS="", JAX_COMPILATION_CACHE_DIR=cache)
    assert cluster.calls("python") == [["-m", "dreamda_jax.generate", cache]]
