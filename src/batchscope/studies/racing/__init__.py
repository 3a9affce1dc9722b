"""A search for the setting that reaches a target first, which gives up what cannot win."""
