"""Pure functions: JAX libraries and types, nothing else."""
