"""Training: from the data to the scales, the transforms and the loss."""
