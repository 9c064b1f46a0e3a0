"""Whole data sets through a model, over ranks."""
