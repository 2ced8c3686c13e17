"""python -m dreamda_jax.reproduce: the paper's tables, cell by cell."""
