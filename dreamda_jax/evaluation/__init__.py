"""Judging synthetic images: from their sets to the numbers and pictures of a report."""
