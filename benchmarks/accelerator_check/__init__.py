"""The sections of `benchmarks/accelerator.py`, one file each, and what they share."""
