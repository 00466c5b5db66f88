"""Building blocks of the conformance suites: groups of checks, and small trainings."""
