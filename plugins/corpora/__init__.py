"""Corpora: readers of folders and tables of labelled recordings."""
