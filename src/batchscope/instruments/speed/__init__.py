"""Seconds per step: at each batch size, as a law, by phase, and what holds it up."""
