"""What keeps reading and writing safe: locks, temporaries of atomic writes, bounded documents, checked downloads."""
