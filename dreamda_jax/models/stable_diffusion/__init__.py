"""Stable Diffusion: its networks, its checkpoints, and what is added to them."""
