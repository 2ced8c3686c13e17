"""Settings of DreamDA by name: `--config FILE:preset=fast`, `pipeline(…, preset="fast")`."""

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {"num_inference_steps": 100},
    # A fifth of the operations, and no less accuracy: docs/performance.md, "Fewer steps".
    "fast": {"num_inference_steps": 20},
}


def preset(name: str) -> dict[str, Any]:
    """What a preset sets; options of `DreamDA` that it leaves out stay as they are.

    Args:
      name: "paper" (the steps of arXiv 2403.12803), or "fast": a fifth of its U-Net rows.

    Raises:
      ValueError: there is no such preset.
    """
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r} (there are: {', '.join(PRESETS)})")
    return dict(PRESETS[name])
