"""Chaotic systems: forecasts, what they cost, and how far they can reach."""
