"""Systems, one equation a file."""
