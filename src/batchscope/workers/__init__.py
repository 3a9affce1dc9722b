"""A task in another process: how it travels, its threads, its end."""
