"""Many runs: their design, their search, where they are trained and kept."""
