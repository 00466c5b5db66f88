"""What conformance suites are made of: checks, small trainings, reports."""
