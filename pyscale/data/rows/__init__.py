"""Rows of arrays that are moved: within memory, between ranks, and to where a whole node has them."""
