"""MC dropout: the posterior samples are dropout masks, and sample k uses one mask for all inputs."""
