"""Stable Diffusion: its networks, its checkpoints, and what is done to both."""
