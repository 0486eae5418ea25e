"""The systems, one equation a file."""
