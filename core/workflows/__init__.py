"""Workflows, the work of whole commands: experiment, comparison, audit, repair, cache upkeep."""
