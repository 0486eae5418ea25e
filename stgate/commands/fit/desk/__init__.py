"""The front desk of a fit: it refuses what words and files show to be wrong, before Lightning is imported."""
