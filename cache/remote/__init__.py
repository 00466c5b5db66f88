"""Cache of another machine, read over HTTP, S3 or any other protocol of fsspec."""
