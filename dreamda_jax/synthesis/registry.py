"""The methods by the name that a configuration gives."""

from dreamda_jax.synthesis.bag_of_tricks import BagOfTricks
from dreamda_jax.synthesis.diffusion_inversion import DiffusionInversion
from dreamda_jax.synthesis.dreamda import DreamDA
from dreamda_jax.synthesis.gif import Gif
from dreamda_jax.synthesis.method import Method
from dreamda_jax.synthesis.sdedit import SDEdit
from dreamda_jax.synthesis.text_to_image import TextToImage

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (DreamDA, TextToImage, SDEdit, BagOfTricks, Gif, DiffusionInversion)
}
