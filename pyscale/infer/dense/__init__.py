"""Chains of dense layers."""
