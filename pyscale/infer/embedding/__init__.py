"""Sums of rows of a table, bag by bag."""
