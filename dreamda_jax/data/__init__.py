"""Sources, records and streams of images, on the host; only `augment/` runs on devices (JAX)."""
