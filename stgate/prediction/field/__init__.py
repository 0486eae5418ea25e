"""Predictors of fields, and the neighbours that they see."""
