"""Section "finetune": defaults that are those of diffusers' scripts, and what is refused."""

import pytest

from dreamda_jax.errors import UserError
from dreamda_jax.options.finetune import Finetune, check_dtype


@pytest.mark.parametrize(
    ("method", "rate"), [("full", 1e-5), ("lora", 1e-4), ("textual_inversion", 5e-4)]
)
def test_a_learning_rate_is_the_method_s_unless_given(method, rate):
    assert Finetune(method=method).peak_learning_rate == rate
    assert Finetune(method=method, learning_rate=3e-6).peak_learning_rate == 3e-6


@pytest.mark.parametrize(
    ("options", "checkpoint", "sheet"),
    [
        ({}, 100, 100),
        ({"num_steps": 5}, 1, 1),
        ({"num_steps": 99}, 9, 9),
        ({"checkpoint_every": 30}, 30, 30),
        ({"sample_every": 7}, 100, 7),
        ({"checkpoint_every": 30, "sample_every": 500}, 30, 500),
    ],
)
def test_checkpoints_and_sheets_come_at_a_tenth_unless_said(options, checkpoint, sheet):
    job = Finetune(**options)
    assert (job.steps_per_checkpoint, job.steps_per_sheet) == (checkpoint, sheet)


def test_the_paper_s_weighting_is_the_default():
    job = Finetune()
    assert (job.weighting, job.p2_gamma, job.p2_k) == ("p2", 1.0, 1.0)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        *(
            (name, 0, f"{name} must be at least 1, got 0")
            for name in (
                "num_steps",
                "batch_size",
                "accumulation",
                "log_every",
                "sample_steps",
                "lora_rank",
                "num_vectors",
            )
        ),
        *(
            (name, -1, f"{name} must be at least 0, got -1")
            for name in (
                "warmup_steps",
                "weight_decay",
                "clip_norm",
                "p2_gamma",
                "fsdp",
                "num_samples",
                "checkpoint_every",
                "sample_every",
                "sample_guidance_scale",
            )
        ),
        *(
            (name, value, rf"{name} must be in \[0, 1\), got {value}")
            for name in ("beta1", "beta2", "ema_decay")
            for value in (1, -0.1)
        ),
        *(
            (name, 0.0, f"{name} must be positive, got 0.0")
            for name in ("p2_k", "min_snr_gamma", "lora_alpha", "learning_rate")
        ),
        *(
            ("prompt_dropout", value, rf"prompt_dropout must be in \[0, 1\], got {value}")
            for value in (-0.1, 1.1)
        ),
        *(("seed", value, r"seed must be in \[0, 2\^31\)") for value in (-1, 2**31)),
    ],
)
def test_numbers_out_of_range_are_named(name, value, message):
    with pytest.raises(ValueError, match=message):
        Finetune(**{name: value})


def test_the_ends_of_ranges_are_allowed():
    Finetune(
        warmup_steps=0,
        weight_decay=0,
        clip_norm=0,
        p2_gamma=0,
        ema_decay=0,
        beta1=0,
        beta2=0,
        prompt_dropout=0,
        num_samples=0,
        sample_guidance_scale=0,
        seed=2**31 - 1,
    )
    assert Finetune(prompt_dropout=1.0).prompt_dropout == 1


def test_a_batch_divides_into_its_portions():
    assert Finetune(batch_size=12, accumulation=3).accumulation == 3
    with pytest.raises(ValueError, match="batch_size=8 must be a multiple of accumulation=3"):
        Finetune(batch_size=8, accumulation=3)


def test_nothing_is_trained_in_float16():
    check_dtype("bfloat16")
    with pytest.raises(UserError, match=r"float16: networks cannot be fine-tuned.*float32"):
        check_dtype("float16")
