"""Flags of XLA for tests; importing this sets nothing, as importing conftest does."""

QUICK = "--xla_backend_optimization_level=0"
"""Little optimisation: compiling takes most of the time of these tests."""
