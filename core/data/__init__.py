"""Everything between raw files and training rows."""
