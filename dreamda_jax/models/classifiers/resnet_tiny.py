"""The architecture of the packaged oracle: a small `ResNetForImageClassification` of transformers.

Its blocks, strides and padding are those of torchvision's ResNet with basic blocks, so it is a
`ResNet` of other sizes; the weights have other names (transformers/models/resnet/
modeling_resnet.py).
"""

import re
from collections.abc import Mapping
from typing import Any

DEPTHS = (2, 2, 2)
WIDTHS = (32, 64, 128)
STEM_WIDTH = 32

_STEM = {"conv1": "convolution", "bn1": "normalization"}
_BLOCK = re.compile(r"layer(\d+)\.(\d+)\.(conv|bn|downsample\.)(\d+)")
_FIELDS = {
    "model_type": "resnet",
    "layer_type": "basic",
    "depths": list(DEPTHS),
    "hidden_sizes": list(WIDTHS),
    "embedding_size": STEM_WIDTH,
    "hidden_act": "relu",
    "num_channels": 3,
    "downsample_in_first_stage": False,
}


def transformers_name(name: str) -> str:
    """Turn a torchvision name into transformers'.

    For example `layer1.0.conv2.weight` into
    `resnet.encoder.stages.0.layers.0.layer.1.convolution.weight`.
    """
    module, leaf = name.rsplit(".", 1)
    if module == "fc":
        return f"classifier.1.{leaf}"
    if module in _STEM:
        return f"resnet.embedder.embedder.{_STEM[module]}.{leaf}"
    found = _BLOCK.fullmatch(module)
    if found is None:
        raise ValueError(f"not a name of a ResNet of basic blocks: {name}")
    kind, number = found[3], int(found[4])
    if kind == "downsample.":  # 0 is the convolution, 1 its BatchNorm
        place, is_norm = "shortcut", number == 1
    else:
        place, is_norm = f"layer.{number - 1}", kind == "bn"
    prefix = f"resnet.encoder.stages.{int(found[1]) - 1}.layers.{found[2]}"
    return f"{prefix}.{place}.{'normalization' if is_norm else 'convolution'}.{leaf}"


def differences(config: Mapping[str, Any]) -> dict[str, Any]:
    """List the fields of a transformers `config.json` that are not this architecture's."""
    return {name: config.get(name) for name, want in _FIELDS.items() if config.get(name) != want}
