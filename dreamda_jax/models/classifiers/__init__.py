"""Image classifiers, one file per architecture; `registry` lists them."""
