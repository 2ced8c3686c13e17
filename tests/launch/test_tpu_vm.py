"""launch/tpu_vm.sh with a stand-in for gcloud: what it asks for, runs, and runs again."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from tests.launch.stand_ins import ARGUMENTS, ENTRY_POINTS, LAUNCH, ROOT, Cluster

TPU = {
    "TPU": "my-slice",
    "ZONE": "us-central1-a",
    "ACCELERATOR_TYPE": "v5litepod-16",
    "RUNTIME_VERSION": "v2-alpha-tpuv5-lite",
}
SCRIPT = LAUNCH / "tpu_vm.sh"


@pytest.fixture
def script(tmp_path):
    """The script in a checkout that is quickly copied to hosts."""
    checkout = tmp_path / "checkout"
    for folder in ("launch", "dreamda_jax", "configs", "constraints"):
        (checkout / folder).mkdir(parents=True)
    for file in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / file, checkout)
    return Path(shutil.copy(SCRIPT, checkout / "launch"))


def test_a_spot_slice_is_asked_for(cluster):
    flags = "--network=mine --internal-ips"
    assert cluster.run(SCRIPT, "create", **TPU, CREATE_FLAGS=flags, PROJECT="p") == 0
    (call,) = cluster.calls("gcloud")
    assert call[:5] == ["compute", "tpus", "queued-resources", "create", "my-slice"]
    assert set(call[5:-1]) == {
        "--accelerator-type=v5litepod-16",
        "--runtime-version=v2-alpha-tpuv5-lite",
        "--node-id=my-slice",
        "--spot",
        *flags.split(),
        "--zone=us-central1-a",
        "--project=p",
    }


def test_a_slice_on_demand_is_asked_for(cluster):
    assert cluster.run(SCRIPT, "create", **TPU, SPOT="0") == 0
    (call,) = cluster.calls("gcloud")
    assert "--spot" not in call


def test_what_tpu_hosts_run_is_installed_on_all_of_them(cluster):
    assert cluster.run(SCRIPT, "install", **TPU) == 0, cluster.output
    for call in cluster.calls("gcloud"):
        assert "--worker=all" in call
    there = cluster.home / "dreamda_jax"
    for path in (
        "dreamda_jax/generate/__main__.py",
        "configs/pets.py",
        "pyproject.toml",
        "constraints/newest.txt",
    ):
        assert (there / path).read_bytes() == (ROOT / path).read_bytes()
    (install,) = [call for call in cluster.calls("uv") if call[0] == "pip"]
    assert install[-4:-1] == ["constraints/newest.txt", "--editable", ".[tpu]"]


def installed(cluster: Cluster) -> None:
    python = cluster.home / "dreamda_jax/.venv/bin/python"
    python.parent.mkdir(parents=True)
    shutil.copy(cluster.where / "bin/python", python)


@pytest.mark.parametrize("entry", ENTRY_POINTS)
def test_tpu_hosts_get_the_arguments_as_they_were_given(cluster, entry):
    installed(cluster)
    assert cluster.run(SCRIPT, "run", entry, *ARGUMENTS, **TPU) == 0, cluster.output
    (call,) = cluster.calls("gcloud")
    assert "--worker=all" in call
    cache = f"{cluster.home}/.cache/dreamda_jax/compilation"
    assert cluster.calls("python") == [["-m", f"dreamda_jax.{entry}", *ARGUMENTS, cache]]


def test_tpu_hosts_share_a_compilation_cache_where_one_is_named(cluster):
    installed(cluster)
    cache = "gs://bucket/my cache"
    assert cluster.run(SCRIPT, "run", "train", **TPU, JAX_COMPILATION_CACHE_DIR=cache) == 0
    assert cluster.calls("python") == [["-m", "dreamda_jax.train", cache]]


def test_the_exit_code_of_a_tpu_run_is_that_of_the_program(cluster):
    installed(cluster)
    cluster.set("codes", 143)
    assert cluster.run(SCRIPT, "run", "generate", **TPU) == 143


def test_a_run_is_told_to_stop_on_all_hosts(cluster):
    assert cluster.run(SCRIPT, "stop", **TPU) == 0
    ((*command, _),) = cluster.calls("pkill")
    assert command[:-1] == ["-TERM", "-f", "--"]
    assert re.search(command[-1], ".venv/bin/python -m dreamda_jax.generate --config=x")
    assert not re.search(command[-1], shlex.join(command))  # or it would find itself


def test_a_preempted_slice_is_asked_for_again_and_the_command_run_again(cluster, script):
    cluster.set("states", "ABSENT", "PROVISIONING", "ACTIVE", "SUSPENDING", "ABSENT", "ACTIVE")
    cluster.set("codes", 1, 0)  # a host that is gone ends the program with an error
    assert cluster.run(script, "keep", "generate", *ARGUMENTS, **TPU) == 0, cluster.output
    once = ["create", "scp", "ssh", "ssh", "delete"]
    assert cluster.verbs() == once + once
    runs = [call[:-1] for call in cluster.calls("python")]
    assert runs == [["-m", "dreamda_jax.generate", *ARGUMENTS]] * 2


def test_a_slice_preempted_while_waiting_is_asked_for_again(cluster, script):
    cluster.set("states", "SUSPENDED", "SUSPENDED", "ABSENT", "ACTIVE", "ACTIVE")
    assert cluster.run(script, "keep", "generate", **TPU) == 0, cluster.output
    assert cluster.verbs() == ["delete", "create", "scp", "ssh", "ssh", "delete"]


@pytest.mark.parametrize("code", [143, 255])
def test_a_run_that_was_stopped_goes_on_with_the_same_slice(cluster, script, code):
    cluster.set("codes", code, 0)
    assert cluster.run(script, "keep", "generate", **TPU) == 0, cluster.output
    assert cluster.verbs() == ["scp", "ssh", "ssh"] * 2 + ["delete"]


def test_an_error_of_the_program_is_not_tried_again(cluster, script):
    cluster.set("codes", 1)
    assert cluster.run(script, "keep", "generate", **TPU) == 1
    assert cluster.verbs() == ["scp", "ssh", "ssh"]
    assert "costs money" in cluster.output


def test_an_installation_that_failed_is_not_run(cluster, script):
    (cluster.home / ".local/bin/uv").write_text("#!/bin/sh\nexit 7\n")
    assert cluster.run(script, "keep", "generate", **TPU) == 7
    assert cluster.verbs() == ["scp", "ssh"]


def test_a_copy_that_failed_is_not_installed(cluster, script):
    (script.parents[1] / "NOTICE").unlink()
    assert cluster.run(script, "keep", "generate", **TPU) != 0
    assert cluster.verbs() == []
    assert "NOTICE" in cluster.output


def test_preemptions_are_not_followed_for_ever(cluster, script):
    cluster.set("states", *["ACTIVE", "ACTIVE", "SUSPENDED"] * 5)
    cluster.set("codes", *[137] * 5)
    assert cluster.run(script, "keep", "generate", **TPU, MAX_RESTARTS="2") == 1
    assert len(cluster.calls("python")) == 3
    assert "gave up" in cluster.output


@pytest.mark.parametrize("arguments", [(), ("unknown",)])
def test_the_tpu_script_says_how_it_is_used(cluster, arguments):
    assert cluster.run(SCRIPT, *arguments, **TPU) == 2
    assert "usage:" in cluster.output
    assert not (cluster.where / "calls").exists()
