"""The verbs: profile, study, analyze, recommend. Here training and deciding meet."""
