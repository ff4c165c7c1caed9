"""A hospital's records: the vault, sharing, reading, and audits."""
