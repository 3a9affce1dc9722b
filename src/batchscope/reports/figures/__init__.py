"""Figures, each as the table of what is seen and the drawing of it."""
