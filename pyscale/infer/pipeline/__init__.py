"""Stages one after the other as one model."""
