"""One number at one batch size, each from a task."""
