"""Layers of the neural fields: Fourier features, channel gated learning units, attention to neighbours."""
