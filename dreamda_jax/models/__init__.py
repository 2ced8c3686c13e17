"""Networks and their weights. diffusers is imported in `stable_diffusion/model.py` only."""
