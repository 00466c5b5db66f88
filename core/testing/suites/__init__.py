"""Conformance suites, one for each kind of plugin."""
