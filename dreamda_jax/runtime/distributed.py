"""Many hosts: who takes part in a job, and how its processes come and go together.

Two kinds of job. Synthesis is apart: each process makes shards of its own, none waits for another,
and no connection is made; one that dies costs its current shard. Training is one program over all
devices of all processes: they meet at a coordinator before JAX starts, stop at the same step, and
end together.

Who there is follows from explicit flags, from Slurm, or from a TPU pod's own environment.
"""

import contextlib
import dataclasses
import os
import re
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import jax

from dreamda_jax.data.files import staging
from dreamda_jax.data.files.mirror import is_no_checkpoint
from dreamda_jax.errors import UserError
from dreamda_jax.runtime import agreement, compilation_cache, devices

_SHOW_WAITING_SECONDS = 10.0
_LONGEST_REPORT_SECONDS = 3600  # that the others wait for what the first writes in the end
# What collectives over TCP and JAX's coordinator say when a process is gone.
_LOST = ("Gloo", "Connection closed", "Connection reset", "coordination service", "UNAVAILABLE")
_TPU_FILES = ("/dev/accel0", "/dev/vfio/0")


@dataclasses.dataclass(frozen=True)
class Hosts:
    """The processes of a job, one on each host.

    Attributes:
      index: of this one.
      count: of all.
    """

    index: int = 0
    count: int = 1

    def wants(self, name: str) -> bool:
        """Whether a file of a data set is this process's business: all but others' shards."""
        shard = re.search(r"\.array_record-(\d+)-of-\d+$", name)
        return shard is None or int(shard[1]) % self.count == self.index


class Flags(NamedTuple):
    """What the command line says of them; None: to be found out.

    Attributes:
      coordinator_address: host:port of process 0, reachable from all.
      num_processes: how many.
      process_id: of this one, from 0.
      join_timeout: seconds to wait for the others.
    """

    coordinator_address: str | None = None
    num_processes: int | None = None
    process_id: int | None = None
    join_timeout: float = 300.0

    @property
    def hosts(self) -> Hosts | None:
        """What was given, or None.

        Raises:
          UserError: one of the two numbers is missing or out of range.
        """
        index, count = self.process_id, self.num_processes
        address = self.coordinator_address
        if address is not None and not re.fullmatch(r".+:[1-9]\d{0,4}", address):
            raise UserError(f"--coordinator_address={address} must be HOST:PORT, as 10.0.0.1:29500")
        if index is None and count is None:
            if self.coordinator_address is not None:
                raise UserError("--coordinator_address needs --num_processes and --process_id too")
            return None
        if index is None or count is None:
            raise UserError("--num_processes and --process_id are given together, or neither is")
        if count < 1 or not 0 <= index < count:
            raise UserError(
                f"--process_id={index} of --num_processes={count}: ids run from 0 to one less than "
                "the number of processes"
            )
        return Hosts(index, count)


def apart(
    job: Callable[[Hosts, threading.Event], int | None], flags: Flags
) -> Callable[[threading.Event], int | None]:
    """A job whose processes need each other for nothing: `job(hosts, stop)`."""

    def run(stop: threading.Event) -> int | None:
        hosts = flags.hosts or _slurm_step()
        devices.start()
        # Neither: a TPU pod's runtime knows; elsewhere this is the only process.
        hosts = hosts or Hosts(devices.process_index(), devices.process_count())
        compilation_cache.keep_programs()
        return job(hosts, stop)

    return run


def together(
    job: Callable[[Any], int | None], flags: Flags
) -> Callable[[threading.Event], int | None]:
    """A job that is one program over the devices of all processes: `job(stop)`.

    Only the first process prints. What `job` is given as `stop` is set for all of them at the same
    place. A process that fails ends at once, and so do the others, which cannot go on without it.

    Raises:
      UserError: not all processes came in time; or what the job raises, if there is one process.
    """

    def run(stop: threading.Event) -> int | None:
        hosts = _join(flags)
        compilation_cache.keep_programs()
        if hosts.count == 1:
            return job(stop)
        try:
            with _silent(unless=hosts.index == 0):
                return job(agreement.SharedStop(stop))
        except BaseException as error:
            _leave(error, hosts)

    return run


def mirroring() -> dict[str, Any]:
    """How the processes of one program share an address, for `staging.mirrored`.

    The first brings up what is made; of several all write their parts of a checkpoint there.
    """
    index, several = devices.process_index(), devices.process_count() > 1
    return {
        "process_index": index,
        "pushes": index == 0,
        "wanted": is_no_checkpoint if several else lambda name: True,
    }


def check_shared(directory: Path) -> None:
    """Makes sure that all processes of one program see the same directory; makes it if absent.

    Raises:
      UserError: some of them see another one.
    """
    if staging.address_of(directory) is None and not agreement.is_shared(directory):
        raise UserError(
            f"{directory} is not the same directory on all {devices.process_count()} processes of "
            "this job. Give one on a file system that they share, or in an object store."
        )


def _join(flags: Flags) -> Hosts:
    given = flags.hosts
    if given is not None and given.count > 1:
        if flags.coordinator_address is None:
            raise UserError(
                f"{given.count} processes train together and need --coordinator_address=HOST:PORT, "
                "of process 0"
            )
        if given.index == 0:
            _check_port_is_free(flags.coordinator_address)
        _initialize(flags, f"at {flags.coordinator_address}", given)
    elif given is None and (step := _slurm_step()) is not None:
        if os.environ.get("SLURM_STEP_TASKS_PER_NODE", "").partition("(")[0] == "1":
            # JAX would take one GPU for each process; a process alone on its node takes all.
            os.environ.setdefault("JAX_LOCAL_DEVICE_IDS", _all_gpus())
        _initialize(flags, "of this Slurm step", step, cluster_detection_method="slurm")
    elif given is None and _on_tpu():
        # A TPU machine outside a pod has nobody to wait for.
        with contextlib.suppress(ValueError):
            _initialize(flags, "of this TPU slice", None)
    devices.start()
    return Hosts(devices.process_index(), devices.process_count())


def _check_port_is_free(address: str) -> None:
    """JAX's coordinator would end with a segmentation fault."""
    port = int(address.rpartition(":")[2])
    family = socket.AF_INET6 if socket.has_ipv6 else socket.AF_INET
    try:
        socket.create_server(("", port), family=family, dualstack_ipv6=socket.has_ipv6).close()
    except (OSError, OverflowError, ValueError) as error:
        raise UserError(
            f"process 0 cannot listen on port {port} of --coordinator_address={address} ({error}): "
            "another program has it, such as an earlier run that has not ended. Give another port "
            "to all processes."
        ) from error


def _initialize(flags: Flags, where: str, hosts: Hosts | None, **options: Any) -> None:
    if flags.hosts is not None:
        options = {
            "coordinator_address": flags.coordinator_address,
            "num_processes": flags.num_processes,
            "process_id": flags.process_id,
            "cluster_detection_method": "deactivate",
        }
    # Its handler of SIGTERM would take the place of ours, which `SharedStop` hears.
    jax.config.update("jax_enable_preemption_service", False)
    # JAX ends the process when its own time is over: ours is over before, and says more.
    with _waiting(flags, where, hosts):
        jax.distributed.initialize(
            initialization_timeout=int(flags.join_timeout) + 60,
            shutdown_timeout_seconds=_LONGEST_REPORT_SECONDS,
            **options,
        )


@contextlib.contextmanager
def _waiting(flags: Flags, where: str, hosts: Hosts | None) -> Iterator[None]:
    who = f"process {hosts.index} of {hosts.count}" if hosts else "this process"

    def show() -> None:
        print(f"waiting     {who}, for the other processes {where}", file=sys.stderr, flush=True)

    def give_up() -> None:
        print(
            f"error: {who} waited {flags.join_timeout:g} s for the other processes {where}. "
            f"{_reason(flags)} Start all of them, each with its own id, or wait longer with "
            "--join_timeout.",
            file=sys.stderr,
            flush=True,
        )
        os._exit(1)

    timers = [
        threading.Timer(min(_SHOW_WAITING_SECONDS, flags.join_timeout / 2), show),
        threading.Timer(flags.join_timeout, give_up),
    ]
    for timer in timers:
        timer.daemon = True
        timer.start()
    try:
        yield
    finally:
        for timer in timers:
            timer.cancel()


def _reason(flags: Flags) -> str:
    if flags.coordinator_address is None or flags.process_id == 0:
        return "Not all of them came."
    host, _, port = flags.coordinator_address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError) as error:
        return f"Nobody answers there ({error}): is process 0 running, and the port open?"
    return "Something answers there, but not all of the others came."


def _leave(error: BaseException, hosts: Hosts) -> NoReturn:
    """Ends this process without the farewells that the others will not answer."""
    lines = (str(error).strip() or type(error).__name__).splitlines()
    if isinstance(error, UserError):
        print(f"error: {error}", file=sys.stderr)
    elif any(mark in str(error) for mark in _LOST):
        print(
            f"error: process {hosts.index} of {hosts.count} lost the others: one of them has ended "
            "or cannot be reached. See what it printed, and run the same command again on all of "
            f"them to continue. ({lines[0][:200]})",
            file=sys.stderr,
        )
    else:
        traceback.print_exception(error)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


@contextlib.contextmanager
def _silent(*, unless: bool) -> Iterator[None]:
    """One account of a job is enough; errors are printed outside of this."""
    if unless:
        yield
        return
    with (
        open(os.devnull, "w", encoding="utf-8") as nothing,
        contextlib.redirect_stdout(nothing),
        contextlib.redirect_stderr(nothing),
    ):
        yield


def _slurm_step() -> Hosts | None:
    """The tasks of an `srun`; None outside of one (a batch script itself is none)."""
    count = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))
    return Hosts(int(os.environ["SLURM_PROCID"]), count) if count > 1 else None


def _all_gpus() -> str:
    """Their numbers, as JAX_LOCAL_DEVICE_IDS has them; "" where there are none."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = len(visible.split(",")) if visible else int(os.environ.get("SLURM_GPUS_ON_NODE", "0"))
    return ",".join(map(str, range(count)))


def _on_tpu() -> bool:
    several = "," in os.environ.get("TPU_WORKER_HOSTNAMES", "")
    return several or any(Path(file).exists() for file in _TPU_FILES)
