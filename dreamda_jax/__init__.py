"""DreamDA in JAX: expand a small labelled image set with Stable Diffusion (arXiv 2403.12803)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dreamda_jax.synthesis.pipeline import DreamDAPipeline

__all__ = ["DreamDAPipeline"]
__version__ = "0.2.0.dev0"


def __getattr__(name: str) -> Any:
    if name == "DreamDAPipeline":  # lazily: it imports JAX and diffusers
        from dreamda_jax.synthesis.pipeline import DreamDAPipeline

        return DreamDAPipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
