"""Configurations that come with the package, one for each data set; `--config NAME` takes one."""
