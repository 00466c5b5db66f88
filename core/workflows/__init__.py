"""Workflows behind the commands: experiment, comparison, audit, repair, cache upkeep."""
