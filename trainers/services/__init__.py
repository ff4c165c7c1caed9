"""Services over granted or consented records: the paper's seven, each a small module over the same vault."""
