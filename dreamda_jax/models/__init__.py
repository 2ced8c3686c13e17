"""Networks and their weights. transformers is imported in `tokenizer.py` only."""
