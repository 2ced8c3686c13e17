"""DreamDA in JAX: expand a small labelled image set with Stable Diffusion (arXiv 2403.12803)."""

__version__ = "0.1.0"
