"""python -m dreamda_jax.plan: what a job takes on hardware that is not here."""
