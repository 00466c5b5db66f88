"""The trainings of a run, carried out: which, in which processes, in which trials."""
