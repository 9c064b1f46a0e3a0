"""Columns in files: what is read, and how they are written."""
