"""One file per study: its claims, its data, and what is measured."""
