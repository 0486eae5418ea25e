"""Fits without gradients: ridge regressions and trees."""
