"""Who takes part in a job, from flags and from the environment; the rest is in tests/multihost."""

import socket
import threading

import numpy as np
import pytest

from dreamda_jax.errors import UserError
from dreamda_jax.runtime import agreement, distributed
from dreamda_jax.runtime.distributed import Flags, Hosts

SLURM = ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_STEP_TASKS_PER_NODE", "SLURM_NTASKS")


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch):
    for name in (*SLURM, "TPU_WORKER_HOSTNAMES", "CUDA_VISIBLE_DEVICES", "SLURM_GPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)


def hosts_of(flags: Flags) -> Hosts:
    found = []
    assert distributed.apart(lambda hosts, stop: found.append(hosts) or 0, flags)(
        threading.Event()
    ) in (0, None)
    return found[0]


def test_one_process_is_alone():
    assert hosts_of(Flags()) == Hosts(0, 1)


def test_flags_say_who_it_is():
    assert hosts_of(Flags(num_processes=3, process_id=2)) == Hosts(2, 3)


def test_a_task_of_srun_is_one_of_several(monkeypatch):
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    monkeypatch.setenv("SLURM_PROCID", "3")
    assert hosts_of(Flags()) == Hosts(3, 4)
    assert hosts_of(Flags(num_processes=1, process_id=0)) == Hosts(0, 1)  # flags come first


def test_a_batch_script_itself_is_alone(monkeypatch):
    # Slurm gives it the job's number of tasks; only `srun` makes a step.
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_PROCID", "0")
    assert hosts_of(Flags()) == Hosts(0, 1)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (Flags(num_processes=2), "given together"),
        (Flags(process_id=0), "given together"),
        (Flags(num_processes=2, process_id=2), "ids run from 0 to one less"),
        (Flags(coordinator_address="a:1"), "needs --num_processes"),
        (Flags("host", 2, 0), r"must be HOST:PORT"),
        (Flags("host:abc", 2, 1), r"must be HOST:PORT"),
    ],
)
def test_flags_that_do_not_fit_are_refused(flags, message):
    with pytest.raises(UserError, match=message):
        hosts_of(flags)


def test_those_who_train_together_need_an_address():
    job = distributed.together(lambda stop: 0, Flags(num_processes=2, process_id=0))
    with pytest.raises(UserError, match=r"need --coordinator_address=HOST:PORT"):
        job(threading.Event())


def test_a_port_that_is_taken_is_told_rather_than_crashed_at():
    with socket.create_server(("", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        job = distributed.together(lambda stop: 0, Flags(address, 2, 0))
        with pytest.raises(UserError, match=r"cannot listen on port \d+ of --coordinator_address"):
            job(threading.Event())


def test_alone_a_job_is_given_its_own_stop():
    stop = threading.Event()
    assert distributed.together(lambda given: int(given is stop), Flags())(stop) == 1


def test_a_process_alone_on_its_node_takes_all_gpus(monkeypatch):
    assert distributed._all_gpus() == ""
    monkeypatch.setenv("SLURM_GPUS_ON_NODE", "4")
    assert distributed._all_gpus() == "0,1,2,3"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "6,7")
    assert distributed._all_gpus() == "0,1"


def test_every_file_but_the_shards_of_others_is_wanted():
    hosts = Hosts(1, 3)
    names = [f"x-train.array_record-{shard:05d}-of-00006" for shard in range(6)]
    assert [hosts.wants(name) for name in names] == [False, True, False, False, True, False]
    assert hosts.wants("done/x-train-00000-of-00006.json")
    assert hosts.wants("config.json")


def test_a_shared_stop_is_true_two_questions_later():
    stop = threading.Event()
    shared = agreement.SharedStop(stop)
    assert [shared.is_set() for _ in range(3)] == [False] * 3
    stop.set()
    # Asked at every step; the answer to this one comes with the next but one.
    assert [shared.is_set() for _ in range(4)] == [False, False, True, True]


def test_alone_everything_is_agreed_on(tmp_path):
    assert agreement.of_first([1, 2]) == [1, 2]
    assert agreement.all_of(True)
    assert not agreement.all_of(False)
    assert agreement.is_shared(tmp_path)
    rows = np.array([(1, 2.0)], [("a", "<u8"), ("b", "<f4")])
    assert agreement.gather_rows(rows) is rows
