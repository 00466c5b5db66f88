"""Computation of missing features, on all cores or machines, and the journal of builds."""
