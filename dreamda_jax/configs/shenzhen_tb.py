"""Shenzhen chest X-rays (normal or tuberculosis), expanded 10 times with Stable Diffusion 1.5.

    python -m dreamda_jax.generate --config configs/shenzhen_tb.py --config.source.path=CXR_png

The class is in the file name: CHNCXR_0001_0.png is normal, CHNCXR_0327_1.png has tuberculosis. 662
seed images become 6,620 images of 512 x 512, 168 U-Net rows each. The whole picture is squashed to
a square: cutting it could cut a lung.
"""

from ml_collections import ConfigDict

from dreamda_jax.configs import defaults, methods


def get_config(method: str = "dreamda") -> ConfigDict:
    """The file naming of the Shenzhen set, expansion 10."""
    config = defaults.get_config(method)
    config.source = defaults.source_config("folder")
    config.source.label_pattern = r"_([01])\.png$"
    config.source.label_names = ConfigDict({"0": "normal", "1": "tuberculosis"})
    config.image.crop = "squash"
    config.prompt.template = "A photo of a chest X-ray, {class}"
    config.output.path = methods.output(method, "runs/shenzhen_tb")
    config.train.output = "runs/shenzhen_tb_classifier"
    return config
