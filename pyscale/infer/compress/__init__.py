"""Smaller and faster models that answer nearly the same, and what that costs."""
