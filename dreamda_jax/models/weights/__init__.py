"""From files on disk or hub to Flax arrays."""
