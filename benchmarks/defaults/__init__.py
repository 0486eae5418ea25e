"""Forecasters with their defaults alone, compared with strong rivals on ten records."""
