"""The plain reverse process of one image, a row at a time, every draw spelled out."""

import jax
import jax.numpy as jnp
import numpy as np

from dreamda_jax.algorithms.diffusion import keys as keys_lib
from dreamda_jax.algorithms.diffusion.keys import Stream
from dreamda_jax.algorithms.diffusion.schedule import make_schedule
from dreamda_jax.synthesis.method import Inputs

ROOT = jax.random.key_data(jax.random.key(11))
SEED_IDS, VARIANTS = np.array([5, 2]), np.array([4, 0, 2])


def make_inputs(model):
    """Two seeds of 8 x 8, three variants of each, every variant under a context of its own."""
    images = np.random.default_rng(0).integers(40, 216, (2, 8, 8, 3)).astype(np.uint8)
    prompts = [f"prompt {i}" for i in range(6)]
    *contexts, empty = np.asarray(model.encode_text({}, model.tokenize([*prompts, ""])))
    return Inputs(
        images=images,
        contexts=np.stack(contexts).reshape(2, 3, *empty.shape),
        source_context=empty,
        empty_context=empty,
        keys=np.asarray(keys_lib.seed_keys(ROOT, SEED_IDS)),
        variants=np.int32(VARIANTS),
    )


def key_of(seed, variant):
    """Of a place in `make_inputs`: fold_in(fold_in(root, seed id), variant number + 1)."""
    key = jax.random.fold_in(ROOT, SEED_IDS[seed])
    return jax.random.fold_in(key, VARIANTS[variant] + 1)


def draw(key, t, stream, shape=(4, 8, 8), distribution=jax.random.normal):
    return distribution(jax.random.fold_in(jax.random.fold_in(key, t), stream), shape)


def reverse(model, key, context, empty, *, steps, strength, eta, scale, x0=None):
    """x_0 of one image; from noise, or from x0 noised to the first of the executed steps."""
    schedule = make_schedule(num_inference_steps=steps, strength=strength, eta=eta)
    alphas = zip(schedule.level.alpha, schedule.previous_level.alpha, strict=True)

    def epsilon(x, t, row):
        return model.denoise({}, x[None], t, row[None])[0]

    x = draw(key, schedule.timesteps[0], Stream.START)
    if x0 is not None:
        first = schedule.level.alpha[0]
        x = jnp.sqrt(first) * x0 + jnp.sqrt(1 - first) * x
    for t, (a, a_previous), sigma in zip(schedule.timesteps, alphas, schedule.sigma, strict=True):
        away, towards = epsilon(x, t, empty), epsilon(x, t, context)
        guided = away + scale * (towards - away)
        clean = (x - jnp.sqrt(1 - a) * guided) / jnp.sqrt(a)
        x = jnp.sqrt(a_previous) * clean
        x = x + jnp.sqrt(jnp.maximum(1 - a_previous - sigma**2, 0)) * guided
        if eta:
            x = x + sigma * draw(key, t, Stream.STEP)
    return x
