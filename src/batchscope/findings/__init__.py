"""Runs in, what can be said out. Nothing here loads torch."""
