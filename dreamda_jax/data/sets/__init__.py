"""Sets this project writes: records, shards, verdicts, exports."""
