"""Training a classifier: optimizer, state, steps and the loop around them."""
