"""Section `method` of a configuration: how images are made. Not a configuration by itself.

    python -m dreamda_jax.generate --config configs/fashion.py:sdedit
    python -m dreamda_jax.generate --config configs/pets.py:gif --dry_run
    python -m dreamda_jax.generate --config configs/pets.py:preset=fast

What follows the colon is the method, or a preset of dreamda; without it, it is dreamda. The options
of each are those of its record in dreamda_jax/options/methods.py. docs/methods.md compares them.
"""

from typing import Any

from ml_collections import ConfigDict

from dreamda_jax.options import presets
from dreamda_jax.options.fields import fields_of
from dreamda_jax.options.methods import METHODS

_PRESET = "preset="


def method_config(argument: str) -> ConfigDict:
    """A method's settings, the papers', or those of a preset.

    Args:
      argument: the configuration's: a method's name, or "preset=" and a preset's name.

    Raises:
      ValueError: there is no such method or preset.
    """
    name = "dreamda" if argument.startswith(_PRESET) else argument
    if name not in METHODS:
        raise ValueError(
            f"unknown method {name!r} (there are: {', '.join(METHODS)}, and "
            f"{', '.join(_PRESET + preset for preset in presets.PRESETS)})"
        )
    options = {field.name: field.default for field in fields_of(METHODS[name])}
    return ConfigDict({"name": name, **options, **preset(argument)})


def preset(argument: str) -> dict[str, Any]:
    """What a preset sets, for configurations with settings of their own; {} of a method.

    Raises:
      ValueError: there is no such preset.
    """
    if not argument.startswith(_PRESET):
        return {}
    return presets.preset(argument.removeprefix(_PRESET))


def output(argument: str, path: str) -> str:
    """Where the images go: apart from those of other methods and presets."""
    return path if argument == "dreamda" else f"{path}_{argument.removeprefix(_PRESET)}"
