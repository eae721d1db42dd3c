"""From tables to pictures: the paper's figures, and those of what it proposes and leaves open."""
