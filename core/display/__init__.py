"""What a person sees of a workflow: progress on standard error, tables on standard out."""
