"""Posteriors over models: each is fitted to labels, and answers with log-probabilities under K samples."""
