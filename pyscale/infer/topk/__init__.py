"""The best rows of a matrix for each query."""
