"""Small U-Nets of every kind, whose outputs in PyTorch are in tests/reference/unet.npz."""

from typing import Any

_SMALL = {
    "block_out_channels": [32, 64],
    "cross_attention_dim": 48,
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "layers_per_block": 1,
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
}
_SQUARE = {"rows": 2, "height": 8, "width": 8, "tokens": 7}

CASES: dict[str, tuple[dict[str, Any], dict[str, int]]] = {
    "sd1": (_SMALL | {"attention_head_dim": 4}, _SQUARE),
    "sd2": (
        _SMALL
        | {"attention_head_dim": [2, 4], "upcast_attention": True, "use_linear_projection": True},
        _SQUARE,
    ),
    "xl": (
        _SMALL
        | {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "attention_head_dim": [2, 4],
            "projection_class_embeddings_input_dim": 6 * 8 + 20,
            "transformer_layers_per_block": [1, 3],
            "use_linear_projection": True,
        },
        _SQUARE,
    ),
    "lcm": (_SMALL | {"attention_head_dim": 4, "time_cond_proj_dim": 24}, _SQUARE),
    "norms": (
        _SMALL
        | {
            "attention_head_dim": 3,  # of 10 and 21 channels: not all are used
            "freq_shift": 1,
            "flip_sin_to_cos": False,
            "layers_per_block": [2, 1],
            "norm_eps": 1e-6,
            "norm_num_groups": 8,
        },
        _SQUARE,
    ),
    "not_square": (_SMALL | {"attention_head_dim": 4}, _SQUARE | {"height": 12, "width": 5}),
    # A group of one channel in one place has no variance: nothing but rounding is left of it.
    "one_cell": (
        _SMALL | {"attention_head_dim": 4, "norm_num_groups": 4},
        _SQUARE | {"height": 1, "width": 1},
    ),
}
"""(unet/config.json, arguments of `unet_inputs`) by name; the width of the prompt is 48."""

WEIGHTS = {"seed": 0, "gain": 2.0, "offset": 1.0}
"""Arguments of `torch_tensors`."""
INPUT_SEED = 1
