"""What the contract's events say, indexed in a database and shown in a browser."""
