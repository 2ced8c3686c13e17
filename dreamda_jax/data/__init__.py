"""Real images in, synthetic records out. Host side only: nothing here imports jax."""
