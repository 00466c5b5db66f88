"""What a finished run has to say: diagnosis, explanations, reports."""
