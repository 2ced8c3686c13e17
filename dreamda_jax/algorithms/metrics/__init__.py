"""Measures of classifiers and of sets of images: pure functions of predictions and features."""
