"""DreamDA's options: against the algorithm row by row, on the tiny model, and by cost."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamda_jax.algorithms.diffusion import keys as keys_lib
from dreamda_jax.algorithms.diffusion.keys import Stream
from dreamda_jax.algorithms.diffusion.schedule import make_schedule
from dreamda_jax.generate import cost
from dreamda_jax.models.stable_diffusion.model import FlaxUNetMidBlock2DCrossAttn, abstract_params
from dreamda_jax.runtime.flops import count_flops
from dreamda_jax.synthesis.dreamda import DreamDA
from dreamda_jax.synthesis.method import Inputs
from dreamda_jax.synthesis.pipeline import DreamDAPipeline
from tests.support.toy_network import SCHEDULER, ToyStableDiffusion

FAST = {"xla_backend_optimization_level": 0}  # compiling costs more than running
ROOT = jax.random.key_data(jax.random.key(11))
SEED_IDS, VARIANTS = np.array([5, 2]), np.array([4, 0, 2])
PROMPTS = ("a photo of a bag", "a photo of a coat")
SHORT = {"num_inference_steps": 5, "strength": 0.6, "guidance_scale": 2.0, "noise_scale": 0.5}


def make_inputs(model, params, *, source_prompt="", side=8, rows=(0, 1), variants=VARIANTS):
    images = np.random.default_rng(0).integers(40, 216, (2, side, side, 3)).astype(np.uint8)
    prompts = [*PROMPTS, source_prompt, ""]
    tokens = model.tokenize(prompts)
    *targets, source, empty = np.asarray(jax.jit(model.encode_text)(params, tokens))
    contexts = np.stack([[target] * len(variants) for target in targets])
    rows = list(rows)
    return Inputs(
        images=images[rows],
        contexts=contexts[rows],
        source_context=source,
        empty_context=empty,
        keys=np.asarray(keys_lib.seed_keys(ROOT, SEED_IDS))[rows],
        variants=np.int32(variants),
    )


def run(model, params, method, inputs):
    """`Outputs` of the whole program with its trajectory, compiled with little optimisation."""

    def program(params, inputs):
        return method.synthesize(model, params, inputs, keep_trajectory=True)

    outputs = jax.jit(program, compiler_options=FAST)(params, inputs)
    return jax.tree.map(np.asarray, outputs)


draw_normal = jax.jit(jax.random.normal, static_argnums=1, compiler_options=FAST)


def by_hand(model, method, inputs, seed, variant):
    """One image of one seed, a row at a time, every draw and every guidance row spelled out."""
    options, count = method, 1 if method.guidance_scale == 1 else 2
    schedule = make_schedule(
        num_inference_steps=options.num_inference_steps,
        strength=options.strength,
        eta=options.eta,
    )
    seed_key = inputs.keys[seed]
    own = jax.random.fold_in(seed_key, 0)
    variant_key = jax.random.fold_in(seed_key, inputs.variants[variant] + 1)
    target, source = inputs.contexts[seed, variant], inputs.source_context
    steps = list(
        zip(
            schedule.timesteps,
            schedule.previous,
            schedule.level.alpha,
            schedule.previous_level.alpha,
            schedule.sigma,
            strict=True,
        )
    )

    def draw(key, t, stream, shape=(4, 8, 8)):
        return draw_normal(jax.random.fold_in(jax.random.fold_in(key, t), stream), shape)

    def network(x, t, context, residual=0.0):
        output = model.denoise(
            {}, x[None], t, context[None], mid_block_additional_residual=residual
        )
        return output[0]

    def to_epsilon(output, x, a):
        if model.scheduler.prediction_type == "epsilon":
            return output
        return jnp.sqrt(a) * output + jnp.sqrt(1 - a) * x

    def source_epsilon(x, t, a):
        output = network(x, t, source)
        if options.source_prompt and options.source_guidance_scale != 1:
            empty = network(x, t, inputs.empty_context)
            output = empty + options.source_guidance_scale * (output - empty)
        return to_epsilon(output, x, a)

    def target_epsilon(x, t, a, noises):
        noises = [options.noise_scale * noise for noise in noises]
        if options.guidance_scale == 1:
            return to_epsilon(network(x, t, target, noises[0]), x, a)
        empty = network(x, t, inputs.empty_context, noises[0])
        wanted = network(x, t, target, noises[-1])
        return to_epsilon(empty + options.guidance_scale * (wanted - empty), x, a)

    def mean(x, noisy, direction, a, a_previous, sigma):
        x0 = (x - jnp.sqrt(1 - a) * noisy) / jnp.sqrt(a)
        return jnp.sqrt(a_previous) * x0 + jnp.sqrt(1 - a_previous - sigma**2) * direction

    x0 = model.encode_image({}, inputs.images[seed : seed + 1])[0]
    if options.inversion == "ddim":
        x = x0
        for _, previous, a, a_previous, _ in reversed(steps):
            epsilon = source_epsilon(x, previous, a_previous)
            x = mean(x, epsilon, epsilon, a_previous, a, 0.0)
        start, recorded = x, [draw(variant_key, step[0], Stream.STEP) for step in steps]
    else:
        t, _, a, *_ = steps[0]
        x = start = jnp.sqrt(a) * x0 + jnp.sqrt(1 - a) * draw(own, t, Stream.START)
        key, recorded = own if options.posterior_noise == "shared" else variant_key, []
        for i, (t, _, a, a_previous, sigma) in enumerate(steps):
            epsilon = (x - jnp.sqrt(a) * x0) / jnp.sqrt(1 - a)
            following = mean(x, epsilon, epsilon, a, a_previous, sigma)
            following = following + sigma * draw(key, t, Stream.POSTERIOR)
            following = x0 if i == len(steps) - 1 else following
            predicted = source_epsilon(x, t, a)
            predicted = mean(x, predicted, predicted, a, a_previous, sigma)
            recorded.append((following - predicted) / sigma)
            x = following

    x, scale = start, options.noise_scale
    if options.site == "x_T":
        x = x + scale * draw(variant_key, steps[0][0], Stream.PERTURBATION)
    for (t, _, a, a_previous, sigma), z in zip(steps, recorded, strict=True):
        if options.site == "x_t" and t != steps[0][0]:
            x = x + scale * draw(variant_key, t, Stream.PERTURBATION)
        noises = [jnp.zeros((8, 8, 4))]
        if options.site == "bottleneck":
            different = count if options.cfg_noise == "independent" else 1
            noises = draw(variant_key, t, Stream.PERTURBATION, (different, 8, 8, 4))
        noisy = target_epsilon(x, t, a, noises)
        direction = noisy
        if options.update_rule == "asymmetric":
            direction = target_epsilon(x, t, a, [jnp.zeros((8, 8, 4))])
        x = mean(x, noisy, direction, a, a_previous, sigma) + sigma * z
    if options.site == "x_0":
        x = x + scale * draw(variant_key, 0, Stream.PERTURBATION)
    return x, model.decode_latents({}, x[None])[0]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"cfg_noise": "shared"},
        {"update_rule": "asymmetric"},
        {"posterior_noise": "redrawn", "eta": 0.5},
        {"inversion": "ddim", "eta": 0.5},
        {"guidance_scale": 1.0, "cfg_noise": "shared", "variants_per_pass": 1},
        {"source_prompt": "a bag", "source_guidance_scale": 1.5, "prediction_type": "v_prediction"},
        {"site": "x_T"},
        {"site": "x_t"},
        {"site": "x_0", "source_prompt": "a bag"},
    ],
    ids=lambda options: "-".join(str(value) for value in options.values()) or "default",
)
def test_batch_equals_the_algorithm_written_out_row_by_row(options):
    prediction_type = options.pop("prediction_type", "epsilon")
    toy = ToyStableDiffusion(SCHEDULER._replace(prediction_type=prediction_type))
    method = DreamDA(**{**SHORT, **options})
    method.check(toy)
    inputs = make_inputs(toy, {}, source_prompt=method.source_prompt)
    outputs = run(toy, {}, method, inputs)
    assert outputs.images.shape == (2, 3, 8, 8, 3)
    assert outputs.trajectory.shape == (2, 3, 3, 4, 8, 8)
    assert 0 < outputs.site_rms < 100
    latents, image = by_hand(toy, method, inputs, 1, 2)
    made = outputs.trajectory[1, 2, -1]
    if method.site != "x_0":  # added after the last step
        # Three float32 steps; the network's slope and guidance magnify a rounding some ten times.
        np.testing.assert_allclose(made, latents, rtol=1e-4, atol=1e-4)
    assert np.abs(outputs.images[1, 2].astype(int) - np.asarray(image).astype(int)).max() <= 1
    # A variant of its own for every seed and variant number.
    flat = outputs.images.reshape(6, -1).astype(int)
    distances = np.abs(flat[:, None] - flat[None]).mean(axis=-1)
    assert (distances[~np.eye(6, dtype=bool)] > 1).all()


def test_guidance_rows_of_equal_prompts_and_shared_noise_agree():
    """u + g (c − u) with u = c: guidance is without effect, whatever its scale."""
    toy = ToyStableDiffusion()
    inputs = make_inputs(toy, {})
    inputs = inputs._replace(contexts=np.broadcast_to(inputs.empty_context, inputs.contexts.shape))
    shared, unguided = (
        run(toy, {}, DreamDA(**{**SHORT, "cfg_noise": "shared", "guidance_scale": scale}), inputs)
        for scale in (6.0, 1.0)
    )
    # The rows of a batch are equal bit for bit; guidance and fusion may round differently.
    np.testing.assert_allclose(shared.trajectory, unguided.trajectory, rtol=1e-5, atol=1e-5)


def test_variants_in_several_passes_are_the_same():
    toy = ToyStableDiffusion()
    inputs = make_inputs(toy, {})
    together = run(toy, {}, DreamDA(**SHORT), inputs)
    apart = run(toy, {}, DreamDA(**SHORT, variants_per_pass=1), inputs)
    # Elementwise float32 work in other shapes: roundings only.
    np.testing.assert_allclose(apart.trajectory, together.trajectory, rtol=1e-5, atol=1e-5)
    assert np.abs(apart.images.astype(int) - together.images.astype(int)).max() <= 1
    np.testing.assert_allclose(apart.site_rms, together.site_rms, rtol=1e-5)


def test_source_guidance_is_without_effect_on_an_empty_source_prompt():
    toy = ToyStableDiffusion()
    inputs = make_inputs(toy, {})
    one, guided = (
        jax.make_jaxpr(lambda inputs, m=method: m.synthesize(toy, {}, inputs))(inputs)
        for method in (DreamDA(**SHORT), DreamDA(**SHORT, source_guidance_scale=1.5))
    )
    assert str(one) == str(guided)


# Of 20 steps; the last group of three has two.
@pytest.mark.parametrize("encoder_every", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_round_trip_of_the_compiled_program_on_the_tiny_model(tiny, encoder_every):
    """No noise, no guidance, the source's prompt: encode, invert, reverse returns the latents."""
    model, params = tiny
    inputs = make_inputs(model, params, side=32, variants=[0, 7])
    inputs = inputs._replace(contexts=np.broadcast_to(inputs.empty_context, inputs.contexts.shape))
    method = DreamDA(
        num_inference_steps=25,
        strength=0.8,
        guidance_scale=1.0,
        noise_scale=0.0,
        encoder_every=encoder_every,
    )

    def program(params, inputs):
        outputs = method.synthesize(model, params, inputs, keep_trajectory=True)
        return outputs, model.encode_image(params, inputs.images)

    outputs, latents = jax.jit(program, compiler_options=FAST)(params, inputs)
    error = np.abs(outputs.trajectory[:, :, -1] - latents[:, None]).max()
    print(f"round trip, compiled program, 20 steps: max {error:.2g}")
    assert error < 2e-5  # issue 2 promises 1e-4; 2e-6 measured, of latents up to 4
    assert np.abs(outputs.trajectory[:, :, 0] - latents[:, None]).max() > 1


def test_everything_at_once_on_the_tiny_model(tiny):
    model, params = tiny
    inputs = make_inputs(model, params, side=32, source_prompt="a bag", variants=[0, 1])
    method = DreamDA(
        **{**SHORT, "noise_scale": 3.0},
        update_rule="asymmetric",
        site="encoder_1",
        source_prompt="a bag",
        source_guidance_scale=1.5,
        variants_per_pass=1,
    )
    outputs = run(model, params, method, inputs)
    assert outputs.images.shape == (2, 2, 32, 32, 3)
    assert outputs.trajectory.shape == (2, 2, 3, 4, 8, 8)
    assert np.isfinite(outputs.trajectory).all()
    assert 0.1 < outputs.site_rms < 20
    pictures = outputs.images.astype(int)
    assert np.abs(pictures[:, 0] - pictures[:, 1]).mean() > 1


@pytest.mark.parametrize(
    "options",
    [
        {"site": "encoder_0", "update_rule": "asymmetric"},
        {"site": "decoder_1", "update_rule": "asymmetric", "cfg_noise": "shared"},
        {"site": "decoder_0", "inversion": "ddim", "eta": 0.0, "posterior_noise": "redrawn"},
        {"site": "encoder_1", "guidance_scale": 1.0, "posterior_noise": "redrawn"},
    ],
    ids=lambda options: options["site"],
)
def test_every_site_fits_the_tiny_model(tiny, options):
    """Traced, not compiled: the rows fit at every block, with guidance and with the clean half."""
    model, params = tiny
    method = DreamDA(**{**SHORT, **options})
    method.check(model)
    inputs = make_inputs(model, params, side=32)
    outputs = jax.eval_shape(
        lambda params, inputs: method.synthesize(model, params, inputs, keep_trajectory=True),
        params,
        inputs,
    )
    assert outputs.images.shape == (2, 3, 32, 32, 3)
    assert outputs.trajectory.shape == (2, 3, 3, 4, 8, 8)


def test_a_variant_made_alone_is_the_one_made_in_a_batch():
    toy = ToyStableDiffusion()
    batch = run(toy, {}, DreamDA(**SHORT), make_inputs(toy, {}))
    alone = run(toy, {}, DreamDA(**SHORT), make_inputs(toy, {}, rows=[1], variants=VARIANTS[2:]))
    assert alone.images.shape == (1, 1, 8, 8, 3)
    # Shapes differ, so a float may round another way and sit on the edge between two bytes.
    np.testing.assert_allclose(alone.trajectory[0, 0], batch.trajectory[1, 2], atol=1e-4)
    assert np.abs(alone.images[0, 0].astype(int) - batch.images[1, 2].astype(int)).max() <= 1


def test_pipeline_makes_any_image_again_in_other_company():
    """Keys, padding and the device axis included; of one shape, so to the byte."""
    pipeline, devices = DreamDAPipeline(ToyStableDiffusion()), jax.local_device_count()
    images = np.random.default_rng(1).integers(40, 216, (devices, 8, 8, 3)).astype(np.uint8)
    key, params = jax.random.key(5), {"none": np.zeros((devices, 1))}
    prompts = ["a bag", *["a coat"] * (devices - 1)]
    batch = pipeline(params, images, prompts, key, num_variants=2, **SHORT).images
    last = devices - 1
    alone = pipeline(
        params, images[last:], prompts[last], key, variants=[9, 1], seed_ids=[last], **SHORT
    ).images
    assert batch.shape == (devices, 2, 8, 8, 3)
    assert alone.shape == (1, 2, 8, 8, 3)
    np.testing.assert_array_equal(alone[0, 1], batch[last, 1])
    assert np.abs(alone[0, 0].astype(int) - batch[last, 0].astype(int)).mean() > 1


def encoder_share(model):
    """FLOPs of encoder and mid block over a whole row's: stops the trace after the mid block."""

    class Stop(Exception):
        pass

    def stop(next_fun, args, kwargs, context):
        output = next_fun(*args, **kwargs)
        is_mid = isinstance(context.module, FlaxUNetMidBlock2DCrossAttn)
        if is_mid and context.method_name == "__call__":
            raise Stop(output)
        return output

    def encoder(params, latents, context):
        try:
            with nn.intercept_methods(stop):
                return model.denoise(params, latents, 1, context)
        except Stop as stopped:
            return stopped.args[0]

    shapes = (
        abstract_params(model),
        jax.ShapeDtypeStruct((1, 4, 8, 8), jnp.float32),
        jax.ShapeDtypeStruct((1, 16, 64), jnp.float32),
    )
    whole = count_flops(lambda p, x, c: model.denoise(p, x, 1, c), *shapes)
    return count_flops(encoder, *shapes) / whole


@pytest.fixture(scope="module")
def share(tiny):
    share = encoder_share(tiny[0])
    assert 0.1 < share < 0.9
    return share


@pytest.mark.parametrize(
    ("options", "n", "rows_per_step"),
    [
        ({}, 1, lambda share, n: 2 + 1 / n),
        ({}, 10, lambda share, n: 2 + 1 / n),
        ({"update_rule": "asymmetric"}, 10, lambda share, n: 2 * (2 - share) + 1 / n),
        ({"posterior_noise": "redrawn"}, 10, lambda share, n: 2 + 1),
        ({"guidance_scale": 1.0}, 10, lambda share, n: 1 + 1 / n),
        (
            {"source_prompt": "a bag", "source_guidance_scale": 1.5, "variants_per_pass": 5},
            10,
            lambda share, n: 2 + 2 / n,
        ),
    ],
)
def test_unet_rows_per_image(tiny, share, options, n, rows_per_step):
    method = DreamDA(num_inference_steps=100, strength=0.8, **options)
    priced = cost.price(tiny[0], method, resolution=32, num_variants=n)
    print(f"{options} n={n}: {priced.unet_rows:.2f} rows, encoder share {share:.3f}")
    # Sums of whole numbers: exact but for the division.
    assert priced.unet_rows == pytest.approx(80 * rows_per_step(share, n), rel=1e-9)


def test_encoder_at_every_fourth_step_only(tiny, share):
    method = DreamDA(num_inference_steps=100, strength=0.8, encoder_every=4)
    priced = cost.price(tiny[0], method, resolution=32, num_variants=10)
    time_embedding = 2 * (64 * 256 + 256 * 256)  # 64 channels; of every step
    left_out = share - time_embedding / priced.row_flops
    assert priced.unet_rows == pytest.approx(80 * 2.1 * (1 - left_out * 3 / 4), rel=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"update_rule": "asymmetric", "site": "x_t"}, "needs a site inside the U-Net, not 'x_t'"),
        ({"update_rule": "asymmetric", "site": "x_0"}, "needs a site inside the U-Net, not 'x_0'"),
        ({"noise_scale": -1.0}, "must not be negative"),
        ({"guidance_scale": -1.0}, "must not be negative"),
        ({"source_guidance_scale": -0.5}, "must not be negative"),
        ({"variants_per_pass": -1}, "variants_per_pass must not be negative, got -1"),
        ({"eta": 0.0}, "CycleDiffusion divides by σ_t, which is 0"),
        ({"site": "encoder_7"}, "unknown perturbation site 'encoder_7'.*encoder_0, decoder_0"),
        ({"encoder_every": 0}, "encoder_every must be 1 or more, got 0"),
        ({"encoder_every": 2, "site": "x_t"}, "site='x_t' would be perturbed in few of them"),
        ({"encoder_every": 2, "site": "encoder_0"}, "use encoder_every=1"),
        ({"encoder_every": 2, "inversion": "ddim"}, "needs inversion='cyclediffusion'"),
        ({"strength": 1.2}, "strength must be in"),
        ({"num_inference_steps": 1000}, "would start at timestep 1000"),
    ],
)
def test_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DreamDA(**options).check(ToyStableDiffusion())


def test_cyclediffusion_is_refused_where_the_last_step_has_no_noise():
    toy = ToyStableDiffusion(SCHEDULER._replace(set_alpha_to_one=True))
    with pytest.raises(ValueError, match=r"--config\.model\.scheduler\.set_alpha_to_one=False"):
        DreamDA().check(toy)
    DreamDA(inversion="ddim").check(toy)
    DreamDA(inversion="ddim", eta=0.0).check(toy)


@pytest.mark.parametrize("field", ["update_rule", "cfg_noise", "inversion", "posterior_noise"])
def test_unknown_choice_is_refused(field):
    with pytest.raises(ValueError, match=f"{field}.*'typo'"):
        DreamDA(**{field: "typo"})


def test_equal_options_share_a_program():
    pipeline = DreamDAPipeline(ToyStableDiffusion())
    first = pipeline.program(DreamDA(noise_scale=2.0))
    assert pipeline.program(DreamDA(noise_scale=2.0)) is first
    assert pipeline.program(dataclasses.replace(DreamDA(), noise_scale=2.5)) is not first
