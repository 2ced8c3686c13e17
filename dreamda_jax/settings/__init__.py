"""From the command line to checked values. No JAX."""
