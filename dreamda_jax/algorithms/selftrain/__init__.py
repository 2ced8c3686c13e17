"""Self-training: pseudo-labels one can trust (AMST), its rivals, and SoftMatch."""
