"""Networks and their weights. The only place that imports diffusers."""
