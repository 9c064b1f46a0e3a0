"""Batches that are made ahead."""
