"""The cache of another machine: read over HTTP, S3 or what else fsspec knows."""
