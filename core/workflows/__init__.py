"""What a command carries out as a whole: experiment, comparison, audit, repair."""
