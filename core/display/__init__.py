"""Terminal output of the workflows: progress on standard error, tables on standard output."""
