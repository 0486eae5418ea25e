"""The commands that Lightning runs: fit, validate, test and predict."""
