"""CLIP: encoder, files, preprocessing."""
