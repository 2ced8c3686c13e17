"""Adapting Stable Diffusion to a set of images: the whole U-Net, LoRA, or new tokens."""
