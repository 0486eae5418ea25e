"""The version, of which every room may ask."""

__version__ = "0.1.0"
