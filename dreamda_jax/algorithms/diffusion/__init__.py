"""Schedules, steps, inversion and perturbation: pure JAX on callables."""
