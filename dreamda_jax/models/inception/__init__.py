"""FID's Inception-v3."""
