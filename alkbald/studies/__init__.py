"""What the experiments beyond single runs compute, and how it is recorded."""
