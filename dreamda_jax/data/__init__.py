"""Images on the host: what reads, orders, decodes and draws them. No JAX."""
