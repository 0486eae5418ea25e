"""Export of fitted forecasters: one graph from raw windows to calibrated quantiles, for processes without torch."""
