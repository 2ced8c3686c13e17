"""Files that survive a crash, run directories, object stores. Stdlib and fsspec."""
