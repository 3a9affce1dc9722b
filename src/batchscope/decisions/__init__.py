"""Findings in, a choice out. Nothing here loads torch."""
