"""Where a U-Net call's time goes on this machine, by kind of operation.

    python benchmarks/unet_profile.py
    python benchmarks/unet_profile.py --rows=20

The embedded model's U-Net, compiled alone and run under JAX's profiler. Operations
that run side by side count each, so the sum may exceed the time of the call.
"""

import collections
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from reporting import machine, print_json, print_table

from dreamda_jax.models.stable_diffusion import loading
from dreamda_jax.settings import command_line

flags.DEFINE_integer("rows", 100, "Rows of a call.", lower_bound=1)
flags.DEFINE_integer("calls", 5, "Calls that are profiled.", lower_bound=1)

_CONVOLUTION = re.compile(
    r"= f32\[([\d,]+)\]\S* convolution\(\S+, \S+\), window=\{size=(\d+x\d+).*dim_labels"
)


def main() -> None:
    """Compiles, profiles, prints."""
    rows, calls = flags.FLAGS.rows, flags.FLAGS.calls
    model, params = loading.load("sample", place=jax.device_put)
    generator = np.random.default_rng(0)
    latents = generator.normal(size=(rows, 4, 8, 8)).astype(np.float32)
    tokens = model.encode_text(params, jnp.asarray(model.tokenize(["a bag"])))
    context = jnp.repeat(tokens, rows, axis=0)
    arguments = (params, jnp.asarray(latents), 500, context)
    program = jax.jit(model.denoise).lower(*arguments).compile()
    for _ in range(2):
        jax.block_until_ready(program(*arguments))
    with tempfile.TemporaryDirectory() as directory:
        with jax.profiler.trace(directory):
            for _ in range(calls):
                jax.block_until_ready(program(*arguments))
        (file,) = Path(directory).rglob("*.xplane.pb")
        nanoseconds = times(file)
    kinds = kinds_of(program.as_text() or "")
    of_kind: collections.Counter[str] = collections.Counter()
    for name, time in nanoseconds.items():
        of_kind[kinds.get(name, "other")] += time / calls / rows / 1e6
    total = sum(of_kind.values())
    print_table(
        f"one U-Net row of {rows} ({machine()})",
        ["", "ms", "share, %"],
        [[kind, time, 100 * time / total] for kind, time in of_kind.most_common()],
    )
    print_json({"rows": rows, "milliseconds": total, **of_kind})


def times(file: Path) -> Mapping[str, float]:
    """Nanoseconds by an operation's name, over all calls of a trace."""
    found: collections.Counter[str] = collections.Counter()
    for plane in jax.profiler.ProfileData.from_file(str(file)).planes:
        for line in plane.lines:
            for event in line.events:
                if "hlo_op" in dict(event.stats):
                    found[event.name] += event.duration_ns
    return found


def kinds_of(program: str) -> dict[str, str]:
    """What each fusion of a compiled program is mainly: read from its text."""
    computations = re.findall(r"^%?(\S+) \([^\n]*\{\n(.*?)^\}", program, re.MULTILINE | re.DOTALL)
    bodies = dict(computations)
    kinds = {}
    for name, called in re.findall(r"%(\S+) = [^\n]*fusion\([^\n]*calls=%([\w.-]+)", program):
        body = bodies[called]
        if found := _CONVOLUTION.search(body):
            side, channels = found[1].split(",")[2:4]
            kinds[name] = f"convolution {found[2]}, {channels} channels of {side}x{side}"
        elif " dot(" in body:
            kinds[name] = "matrix products and what is fused with them"
        elif " reduce(" in body:
            kinds[name] = "normalisation"
        else:
            kinds[name] = "elementwise"
    return kinds


if __name__ == "__main__":
    command_line.run(main)
