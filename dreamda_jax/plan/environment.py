"""What has to be said to JAX before it starts, so that it compiles and looks for no accelerator."""

import os


def prepare(*, pretended_devices: int) -> None:
    """Sets environment variables; without effect once JAX has started.

    Args:
      pretended_devices: CPU devices to show in the place of a target's, for what only needs to be
        traced; 0: those that are here.
    """
    os.environ["JAX_PLATFORMS"] = "cpu"  # for everything but the target's compiler
    os.environ["TPU_SKIP_MDS_QUERY"] = "1"  # this is no TPU machine: do not wait for its metadata
    os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"  # no chip is taken, so plans may run at once
    # Of a machine that libtpu would otherwise miss, and say so; which one does not matter.
    os.environ["TPU_ACCELERATOR_TYPE"] = "v5litepod-4"
    os.environ["TPU_WORKER_HOSTNAMES"] = "localhost"
    os.environ.setdefault("TPU_STDERR_LOG_LEVEL", "3")
    os.environ.setdefault("TPU_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # A checkpoint is gigabytes, of which a plan needs a few numbers.
    os.environ["HF_HUB_OFFLINE"] = "1"
    if pretended_devices:
        flag = f"--xla_force_host_platform_device_count={pretended_devices}"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()
