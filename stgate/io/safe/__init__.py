"""Safety of reading and writing: locks, temporaries of atomic writes, bounded documents, checked downloads."""
