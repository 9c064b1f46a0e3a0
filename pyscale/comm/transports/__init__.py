"""How bytes move: each transport does the same collectives, on C-contiguous NumPy arrays that were checked before."""
