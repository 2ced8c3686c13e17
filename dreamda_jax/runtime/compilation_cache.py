"""Keeps compiled programs on the disk, so that the second start of a job compiles nothing.

    ~/.cache/dreamda_jax/programs/gpu
    ~/.cache/dreamda_jax/programs/cpu-1f0c2a9b    a CPU's programs run on this kind of CPU only

JAX's own settings come first: with JAX_COMPILATION_CACHE_DIR it is that directory (hosts that share
one compile once), with JAX_ENABLE_COMPILATION_CACHE=false there is none. XDG_CACHE_HOME moves the
default, to which nobody else has access. JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS leaves out
programs that compile faster.
"""

import contextlib
import hashlib
import os
import platform
import sys
from pathlib import Path

import jax

from dreamda_jax.data.files.private import cache_home, check_place, private_directory
from dreamda_jax.errors import UserError
from dreamda_jax.runtime import devices

_LEAST_TIME = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
_CPU_INFO = Path("/proc/cpuinfo")


def keep_programs() -> None:
    """Makes JAX look for programs in the cache and put new ones there; once devices are known."""
    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        where, otherwise = directory(devices.platform()), "Give JAX_COMPILATION_CACHE_DIR."
        try:
            check_place(cache_home(), otherwise=otherwise)
            private_directory(where, otherwise=otherwise)
            jax.config.update("jax_compilation_cache_dir", str(where))
        except UserError as error:  # whoever can write a program there can run it here
            print(f"note        compiled programs are not kept: {error}", file=sys.stderr)
    if _LEAST_TIME not in os.environ:
        # JAX keeps what took a second or more; a start has a dozen programs that take less.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def kept_in() -> Path | None:
    """Where this process keeps programs; None where it keeps none, or not in a directory here."""
    name = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    enabled = jax.config.jax_enable_compilation_cache  # type: ignore[attr-defined]
    return None if not enabled or name is None or "://" in name else Path(name)


def directory(platform_name: str) -> Path:
    """Where the programs of a platform are kept.

    Args:
      platform_name: "cpu", "gpu" or "tpu".
    """
    kind = f"cpu-{_cpu_digest()}" if platform_name == "cpu" else platform_name
    return cache_home() / "programs" / kind


def _cpu_digest() -> str:
    """Of the instructions a CPU has: a home directory may be shared by unlike machines."""
    features = platform.machine() + platform.processor()
    with contextlib.suppress(OSError):
        lines = _CPU_INFO.read_text().splitlines()
        features += next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return hashlib.sha256(features.encode()).hexdigest()[:8]
