"""python -m dreamda_jax.generate: seeds in, finished shards out."""
