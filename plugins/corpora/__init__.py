"""Readers of folders and tables of labelled recordings."""
