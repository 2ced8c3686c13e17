"""Stable Diffusion's networks as Flax modules of our own, in PyTorch's numbers."""
