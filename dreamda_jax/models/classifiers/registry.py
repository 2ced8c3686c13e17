"""The classifier architectures by name, with all that loading and saving their weights needs."""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from dreamda_jax.errors import UserError
from dreamda_jax.models.classifiers import mobilenet_v2, resnet_tiny, swin_v2
from dreamda_jax.models.classifiers.resnet import ResNet

_INDEX = re.compile(r"_(\d+)(?=\.|$)")
_LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}

StateDict = Mapping[str, np.ndarray]


class Build(Protocol):
    """Makes a classifier module."""

    def __call__(
        self, num_classes: int, dtype: Any = jnp.float32, stem: str = "imagenet"
    ) -> nn.Module:
        """Build one.

        Args:
            num_classes: width of the head.
            dtype: that of the computation, float32 or bfloat16; parameters are float32.
            stem: "imagenet", or in the ResNets "small" for images of about 32 pixels.

        Raises:
            UserError: the architecture has no such stem.
        """


class Architecture(NamedTuple):
    """One classifier architecture."""

    name: str
    build: Build
    hub_id: str | None
    """Hugging Face id of its usual ImageNet-1K weights."""
    head: str
    """Name of the linear head in its state dict."""
    tensor_name: Callable[[tuple[str, ...]], str]
    """From the place of a Flax variable, such as ("params", "conv1", "kernel"), to its name in
    torchvision's state dict (transformers' for resnet_tiny)."""
    to_usual_names: Callable[[StateDict], StateDict] = dict
    """From a state dict under other names, timm's, to the names of `tensor_name`; PyTorch layout
    on both sides. What has those names already stays."""
    renamed_elsewhere: str = ""
    """What to say where such weights are used at another `image_size`; "": nothing."""
    image_size: int = 224
    """The usual side of its input, in pixels."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Of the input normalisation, per channel of images in 0..1; ImageNet's unless said."""
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)


def find_architecture(name: str) -> Architecture:
    """Look an architecture up.

    Raises:
        UserError: there is none of that name.
    """
    if name not in ARCHITECTURES:
        raise UserError(
            f"There is no classifier architecture {name!r}. Use one of: {', '.join(ARCHITECTURES)}."
        )
    return ARCHITECTURES[name]


def _torchvision_name(path: tuple[str, ...]) -> str:
    """Name a variable of a module whose submodules are named after torchvision's."""
    _, *modules, leaf = path
    return ".".join([_INDEX.sub(r".\1", ".".join(modules)), _LEAVES.get(leaf, leaf)])


def _resnet(**sizes: Any) -> Build:
    def build(num_classes: int, dtype: Any = jnp.float32, stem: str = "imagenet") -> nn.Module:
        if stem != "imagenet" and stem != "small":
            raise UserError(f"There is no stem {stem!r}. Use 'imagenet' or 'small'.")
        return ResNet(num_classes=num_classes, dtype=dtype, stem=stem, **sizes)

    return build


def _with_one_stem(name: str, module: Callable[..., nn.Module]) -> Build:
    def build(num_classes: int, dtype: Any = jnp.float32, stem: str = "imagenet") -> nn.Module:
        if stem != "imagenet":
            raise UserError(
                f"{name} has no stem {stem!r}, only 'imagenet'. The ResNets have 'small' too, for "
                "images of about 32 pixels."
            )
        return module(num_classes=num_classes, dtype=dtype)

    return build


ARCHITECTURES: dict[str, Architecture] = {
    architecture.name: architecture
    for architecture in (
        Architecture(
            name="resnet18",
            build=_resnet(depths=(2, 2, 2, 2)),
            hub_id="timm/resnet18.tv_in1k",
            head="fc",
            tensor_name=_torchvision_name,
        ),
        Architecture(
            name="resnet50",
            build=_resnet(depths=(3, 4, 6, 3), bottleneck=True),
            hub_id="timm/resnet50.tv_in1k",
            head="fc",
            tensor_name=_torchvision_name,
        ),
        Architecture(
            name="resnext50_32x4d",
            build=_resnet(depths=(3, 4, 6, 3), bottleneck=True, groups=32, width_per_group=4),
            hub_id="timm/resnext50_32x4d.tv_in1k",
            head="fc",
            tensor_name=_torchvision_name,
        ),
        Architecture(
            name="swin_v2_t",
            build=_with_one_stem("swin_v2_t", swin_v2.swin_v2_t),
            hub_id="timm/swinv2_tiny_window8_256.ms_in1k",
            head="head",
            tensor_name=lambda path: swin_v2.torchvision_name(path[1:]),
            to_usual_names=swin_v2.from_timm,
            renamed_elsewhere=swin_v2.TIMM_AT_OTHER_SIZES,
            image_size=256,
        ),
        Architecture(
            name="mobilenet_v2",
            build=_with_one_stem("mobilenet_v2", mobilenet_v2.MobileNetV2),
            hub_id="timm/mobilenetv2_100.ra_in1k",
            head="classifier.1",
            tensor_name=_torchvision_name,
            to_usual_names=mobilenet_v2.from_timm,
        ),
        Architecture(
            name="resnet_tiny",
            build=_resnet(
                depths=resnet_tiny.DEPTHS,
                widths=resnet_tiny.WIDTHS,
                stem_width=resnet_tiny.STEM_WIDTH,
            ),
            image_size=32,
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            hub_id=None,
            head="classifier.1",
            tensor_name=lambda path: resnet_tiny.transformers_name(_torchvision_name(path)),
        ),
    )
}
