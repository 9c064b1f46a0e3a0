"""Machine learning from one core to a cluster: the same answer everywhere, and proof that it scaled."""

from pyscale.config import config, show_config
from pyscale.errors import CommError, CommMismatch, CommTimeout, PyscaleError

__version__ = "0.1.0"

__all__ = [
    "CommError",
    "CommMismatch",
    "CommTimeout",
    "PyscaleError",
    "__version__",
    "config",
    "show_config",
]
