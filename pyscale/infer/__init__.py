"""Models that predict many rows at once."""
