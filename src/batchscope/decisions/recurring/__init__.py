"""Choosing the batch size of a job that runs again and again, from what its runs cost."""
