"""The settings of a run as plain values, what differs between two of them, and its software."""

import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping
from typing import Any

from dreamda_jax.data.files import migrations
from dreamda_jax.printable import masked

_ABSENT = object()
_DIGESTS = "sha256"  # the section
_CONTENT = "_content"


_PACKAGES = (
    *("array-record", "diffusers", "dreamda-jax", "flax", "grain", "jax", "numpy", "optax"),
    *("orbax-checkpoint", "pillow", "tensorflow-datasets", "transformers"),
)


def since_begun(
    here: Mapping[str, Any], now: Mapping[str, Any], *, defaults: Mapping[str, Any]
) -> list[str]:
    """What differs between a run, of this version or an older one, and today's configuration.

    Args:
      here: the settings the run was begun with.
      now: today's.
      defaults: by section the value that a field counts as where an older run lacks it.

    Returns:
      The lines of `difference`, with what to do where a later version is the reason; none if the
      run can be continued.
    """
    upgraded = migrations.as_today(plain(here), plain(now), defaults=plain(defaults))
    _compare_by_content(upgraded.get(_DIGESTS), plain(now).get(_DIGESTS))
    lines = []
    for line in difference(upgraded, now):
        advice = migrations.advice(line.partition(":")[0], plain(here))
        lines.append(f"{line} ({advice})" if advice else line)
    return lines


def by_content(listing: str, content: str, *, name: str) -> dict[str, str]:
    """The digests of one thing in section "sha256": how 0.1 compared it, and by every byte.

    Args:
      listing: of names, sizes, labels, samples.
      content: of all bytes.
      name: such as "source" or "model".
    """
    return {name: listing, name + _CONTENT: content}


def compares_by_listing(here: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What a run of an older version can be compared by its names only, such as "source"."""
    old, new = here.get(_DIGESTS, {}), now.get(_DIGESTS, {})
    return [
        name.removesuffix(_CONTENT) for name in new if name.endswith(_CONTENT) and name not in old
    ]


def _compare_by_content(here: Any, now: Any) -> None:
    """Leaves out listings where both know the content; and contents that an older run lacks."""
    if not isinstance(here, dict) or not isinstance(now, dict):
        return
    for name in [name for name in now if name.endswith(_CONTENT)]:
        listing = name.removesuffix(_CONTENT)
        if name in here:
            here[listing] = now.get(listing)
        elif listing in here:
            here[name] = now[name]


def difference(here: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """One line for each field that differs, such as `method.noise_scale: 3.0 here, 5.0 now`.

    A section that only one side has, as where another command made the directory, is one line.
    """
    old_sections, new_sections = plain(here), plain(now)
    lines = []
    for name in sorted(old_sections.keys() ^ new_sections.keys()):
        if isinstance(old_sections.get(name, new_sections.get(name)), Mapping):
            lines.append(f"section {name}: {'not now' if name in old_sections else 'not here'}")
            old_sections.pop(name, None)
            new_sections.pop(name, None)
    old, new = _flatten(old_sections), _flatten(new_sections)
    for name in sorted({*old, *new}):
        left, right = old.get(name, _ABSENT), new.get(name, _ABSENT)
        # 3 and 3.0 are the same setting; True and 1 are not; NaN equals itself.
        same = left == right and isinstance(left, bool) == isinstance(right, bool)
        if not same and repr(left) != repr(right):
            lines.append(f"{name}: {_show(left)} here, {_show(right)} now")
    return lines


def plain(value: Any) -> Any:
    """What JSON makes of a value, so that settings compare equal to their stored form."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return masked(os.fspath(value))
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:  # a numpy scalar
        return value.item()
    if isinstance(value, str):
        return masked(value)  # a password in an address is nobody's setting
    if value is None or isinstance(value, (bool, int, float)):
        return value
    raise TypeError(f"a setting must be a plain value, got {type(value).__name__}: {value!r}")


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _show(value: Any) -> str:
    return "not set" if value is _ABSENT else json.dumps(value, ensure_ascii=False)


def software_versions() -> dict[str, str | None]:
    """Versions of Python and of the packages results depend on; None of one that is not there."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return versions
