"""Diagnosis, explanations and reports of finished runs."""
