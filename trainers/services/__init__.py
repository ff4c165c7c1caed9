"""The paper's services, over granted or consented records: each a small module over the same vault."""
