"""Machine learning from one core to a cluster: the same answer everywhere, and proof that it scaled."""

__version__ = "0.1.0"
