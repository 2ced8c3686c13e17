"""The HTML report: its frame, tables and charts."""
