"""Descriptions of each class for `generate`, by a language model or from word lists."""
