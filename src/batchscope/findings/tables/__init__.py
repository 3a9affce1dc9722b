"""Tables of runs that were measured elsewhere."""
