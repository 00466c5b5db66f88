"""Remedies: changes of a configuration that repair certain faults."""
