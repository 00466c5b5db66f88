"""Conformance suites for plugins, for ``fusion.testing``, which is their public face."""
