"""Implementation of the conformance suites that ``fusion.testing`` exports for plugin authors."""
