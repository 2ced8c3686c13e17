"""Stable Diffusion: the only import of diffusers."""
