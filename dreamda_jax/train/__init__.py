"""python -m dreamda_jax.train: supervised, AMST, SoftMatch; labels, audit, results."""
