"""What to turn where images are too close to their seeds or too far from real ones, by method."""

from collections.abc import Mapping
from typing import Any

from dreamda_jax.evaluate.page.numbers import is_number

_KNOBS = ("noise_scale", "strength", "embedding_noise")


def more_noise(report: Mapping[str, Any]) -> str:
    """For images too close to their seeds, or too alike."""
    knob = _knob(report)
    if knob is None:
        return f"try less guidance, {_turned(report, 'guidance_scale', 2 / 3)}"
    return f"try more noise, {_turned(report, knob, 1.5)}"


def less_noise(report: Mapping[str, Any]) -> str:
    """For images too far from the real ones."""
    less_guidance = f"less guidance, {_turned(report, 'guidance_scale', 2 / 3)}"
    knob = _knob(report)
    if knob is None:
        return f"try {less_guidance}"
    return f"try less noise, {_turned(report, knob, 2 / 3)}, or {less_guidance}"


def _knob(report: Mapping[str, Any]) -> str | None:
    """What moves images from their seeds with the method they were made by; None: only prompts."""
    method = report["settings"].get("method", {})
    if not method:
        return _KNOBS[0]
    return next((field for field in _KNOBS if field in method), None)


def _turned(report: Mapping[str, Any], field: str, factor: float) -> str:
    """The field, and what to set it to if its value is known."""
    value = report["settings"].get("method", {}).get(field)
    if not is_number(value) or not value:
        return f"`--config.method.{field}`"
    turned = factor * value
    if field == "strength":  # a share of the steps
        turned = min(turned, 1.0)
        if turned == value:
            return f"`--config.method.{field}` is at its most, {value:g}"
    return f"`--config.method.{field}={turned:.2g}` instead of {value:g}"
