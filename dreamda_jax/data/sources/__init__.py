"""open_source: where labelled images come from."""
