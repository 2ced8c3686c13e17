"""python -m dreamda_jax.prompts: descriptions of each class."""
