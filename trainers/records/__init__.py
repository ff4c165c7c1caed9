"""A hospital's records: kept, shared, read and accounted for."""
