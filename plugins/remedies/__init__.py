"""Changes of a configuration that mend certain faults; the steps of the ladder."""
