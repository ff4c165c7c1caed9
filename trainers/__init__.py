"""What one hospital runs: its data, its models, local training and scoring."""
