"""Safety of reading and writing: locks, atomic writes, bounded documents, examined files, checked downloads."""
