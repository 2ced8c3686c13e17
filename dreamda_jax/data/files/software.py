"""Which software runs here, for whoever wants to make the same again."""

import importlib.metadata
import platform

_PACKAGES = (
    *("array-record", "diffusers", "dreamda-jax", "flax", "grain", "jax", "numpy", "optax"),
    *("orbax-checkpoint", "pillow", "tensorflow-datasets", "transformers"),
)


def software_versions() -> dict[str, str | None]:
    """Versions of Python and of the packages results depend on; None of one that is not there."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return versions
