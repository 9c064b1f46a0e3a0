"""What a peer cannot do."""


class NotSupported(Exception):
    """A peer cannot take a model; says why."""
