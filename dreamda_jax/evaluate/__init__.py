"""python -m dreamda_jax.evaluate: metrics, copies, advice, the HTML page."""
