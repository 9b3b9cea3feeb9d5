"""The official release's files, and those of other loaders: in and out."""
