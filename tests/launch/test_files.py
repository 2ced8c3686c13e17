"""The files of launch/ themselves: linted, and held against what JobSet and SkyPilot publish."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.launch.stand_ins import LAUNCH, ROOT, name

SCRIPTS = sorted([*LAUNCH.rglob("*.sh"), *LAUNCH.rglob("*.sbatch")])
DOCKERFILES = sorted((LAUNCH / "docker").glob("Dockerfile.*"))
JOBSETS = sorted((LAUNCH / "gke").glob("*.yaml"))
TASKS = sorted((LAUNCH / "skypilot").glob("*.yaml"))
FILES = sorted(path for path in LAUNCH.rglob("*") if path.is_file())


def tool(command: str) -> str:
    """A linter of the extra `dev`, from the environment that runs the tests."""
    found = shutil.which(
        command, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )
    assert found, f"{command} is missing: pip install -e '.[dev]'"
    return found


def assert_no_complaints(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", SCRIPTS, ids=name)
def test_scripts_parse_stop_at_errors_and_satisfy_shellcheck(path):
    assert_no_complaints("bash", "-n", str(path))
    assert_no_complaints(tool("shellcheck"), "--norc", str(path))
    lines = path.read_text().splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    code = [line for line in lines if line and not line.startswith("#")]
    assert code[0] == "set -euo pipefail"
    assert path.suffix == ".sbatch" or os.access(path, os.X_OK)


@pytest.mark.parametrize("path", DOCKERFILES, ids=name)
def test_dockerfiles_satisfy_hadolint(path):
    assert_no_complaints(tool("hadolint"), "--no-color", str(path))


@pytest.mark.parametrize("path", DOCKERFILES, ids=name)
def test_dockerfiles_copy_what_is_there_and_not_ignored(path):
    let_in = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.M)
    copied = [
        part
        for line in re.findall(r"^COPY (.+)$", path.read_text(), re.M)
        for part in line.split()[:-1]
    ]
    assert sorted(copied) == sorted(let_in)
    assert all((ROOT / part).exists() for part in copied)
    (extra,) = re.findall(r"^ARG EXTRAS=(\w+)$", path.read_text(), re.M)
    assert f"\n{extra} = [" in (ROOT / "pyproject.toml").read_text()


def validator(schema: str) -> jsonschema.Draft202012Validator:
    text = (ROOT / f"tests/launch/schemas/{schema}.json").read_text()
    return jsonschema.Draft202012Validator(json.loads(text))


def pod(jobset: dict) -> tuple[dict, dict]:
    """The specification of the one job and of its pod."""
    (replicated,) = jobset["spec"]["replicatedJobs"]
    job = replicated["template"]["spec"]
    return job, job["template"]["spec"]


@pytest.mark.parametrize("path", JOBSETS, ids=name)
def test_jobsets_fit_their_schema(path):
    assert not list(validator("jobset").iter_errors(yaml.safe_load(path.read_text())))


def test_a_misspelt_field_of_a_jobset_is_found():
    jobset = yaml.safe_load(JOBSETS[0].read_text())
    pod(jobset)[1]["terminationGracePeriod"] = 60
    with pytest.raises(jsonschema.ValidationError, match="terminationGracePeriod"):
        validator("jobset").validate(jobset)


@pytest.mark.parametrize("path", JOBSETS, ids=name)
def test_jobsets_leave_time_to_save_and_start_again(path):
    jobset = yaml.safe_load(path.read_text())
    job, spec = pod(jobset)
    assert jobset["spec"]["failurePolicy"]["maxRestarts"] > 0
    assert job["backoffLimit"] == 0
    assert spec["restartPolicy"] == "Never"  # podFailurePolicy asks for it
    assert spec["terminationGracePeriodSeconds"] >= 30  # dreamda_jax/runtime/interrupt.py takes 25
    (container,) = spec["containers"]
    assert container["name"] == job["podFailurePolicy"]["rules"][0]["onExitCodes"]["containerName"]
    assert "JAX_COMPILATION_CACHE_DIR" in {variable["name"] for variable in container["env"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert set(mounts) == {volume["name"] for volume in spec["volumes"]}
    paths = [argument.partition("=")[2] for argument in container["args"] if "path=/" in argument]
    assert paths
    assert all(path.startswith(mounts["data"]) for path in paths)


@pytest.mark.parametrize("path", JOBSETS, ids=name)
def test_jobsets_run_an_entry_point_on_every_host(path):
    job, spec = pod(yaml.safe_load(path.read_text()))
    (container,) = spec["containers"]
    assert container["command"] == ["python", "-m", "dreamda_jax.generate"]
    assert job["parallelism"] == job["completions"]
    assert job["completionMode"] == "Indexed"
    hosts = re.findall(r"--num_processes=(\d+)", " ".join(container["args"]))
    assert hosts in ([], [str(job["completions"])])
    variables = {variable["name"] for variable in container["env"]}
    assert set(re.findall(r"\$\((\w+)\)", " ".join(container["args"]))) <= variables


def test_the_tpu_jobset_uses_every_chip_of_its_slice():
    job, spec = pod(yaml.safe_load((LAUNCH / "gke/tpu-v5e.yaml").read_text()))
    sides = spec["nodeSelector"]["cloud.google.com/gke-tpu-topology"].split("x")
    chips = spec["containers"][0]["resources"]["limits"]["google.com/tpu"]
    assert job["completions"] * chips == int(sides[0]) * int(sides[1])


@pytest.mark.parametrize("path", TASKS, ids=name)
def test_skypilot_tasks_fit_their_schema_and_recover(path):
    task = yaml.safe_load(path.read_text())
    validator("skypilot").validate(task)
    assert 143 in task["resources"]["job_recovery"]["recover_on_exit_codes"]
    assert task["resources"]["use_spot"]


@pytest.mark.parametrize("path", TASKS, ids=name)
@pytest.mark.parametrize("part", ["setup", "run"])
def test_scripts_in_skypilot_tasks_satisfy_shellcheck(path, part, tmp_path):
    task, script = yaml.safe_load(path.read_text()), tmp_path / "script"
    given = [*task["envs"], "SKYPILOT_NODE_IPS", "SKYPILOT_NUM_NODES", "SKYPILOT_NODE_RANK"]
    declared = "".join(f'{variable}=""\n' for variable in given)
    script.write_text(f"{declared}arguments=()\n{task[part]}")
    assert_no_complaints(tool("shellcheck"), "--norc", "--shell=bash", "--exclude=SC2034", script)


def test_a_misspelt_field_of_a_skypilot_task_is_found():
    task = yaml.safe_load(TASKS[0].read_text())
    task["resources"]["job_recovery"]["max_restart_on_errors"] = 3
    with pytest.raises(jsonschema.ValidationError):
        validator("skypilot").validate(task)


@pytest.mark.parametrize("path", FILES, ids=name)
def test_launch_files_run_nothing_but_the_package(path):
    runs = re.findall(r"\bpython[}\"]*,? \"?-m\"?,? \"?(\w*)", path.read_text())
    assert runs
    assert set(runs) == {"dreamda_jax"}


@pytest.mark.parametrize("path", FILES, ids=name)
def test_launch_files_keep_compiled_programs(path):
    assert "JAX_COMPILATION_CACHE_DIR" in path.read_text()
