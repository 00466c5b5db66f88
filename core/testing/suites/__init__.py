"""The conformance suites, one for each kind of plugin."""
