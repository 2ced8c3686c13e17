"""Each method has a knob of its own."""

import pytest

from dreamda_jax.evaluate.noise_advice import less_noise, more_noise


def of(**method):
    return {"settings": {"method": method}}


@pytest.mark.parametrize(
    ("method", "more", "less"),
    [
        (
            {"noise_scale": 3.0, "strength": 0.8, "guidance_scale": 6.0},
            "more noise, `--config.method.noise_scale=4.5` instead of 3",
            "`--config.method.noise_scale=2` instead of 3, or less guidance, "
            "`--config.method.guidance_scale=4` instead of 6",
        ),
        (
            {"strength": 0.8, "guidance_scale": 6.0},
            "`--config.method.strength=1` instead of 0.8",
            "`--config.method.strength=0.53` instead of 0.8",
        ),
        ({"strength": 1.0}, "strength` is at its most, 1", "strength=0.67` instead of 1"),
        (
            {"embedding_noise": 0.1, "guidance_scale": 2.0},
            "embedding_noise=0.15` instead of 0.1",
            "embedding_noise=0.067` instead of 0.1",
        ),
        (
            {"name": "text_to_image", "guidance_scale": 7.5},
            "try less guidance, `--config.method.guidance_scale=5` instead of 7.5",
            "try less guidance, `--config.method.guidance_scale=5` instead of 7.5",
        ),
    ],
)
def test_what_to_turn(method, more, less):
    assert more in more_noise(of(**method))
    assert less in less_noise(of(**method))


def test_unknown_settings():
    assert more_noise({"settings": {}}) == "try more noise, `--config.method.noise_scale`"
