"""The exceptions of pyscale; bad arguments are ``TypeError`` and ``ValueError`` as everywhere."""


class PyscaleError(Exception):
    """Base class of everything that pyscale raises besides ``TypeError``, ``ValueError`` and ``ImportError``."""


class CommError(PyscaleError):
    """A collective could not be done: a rank died, left, or the transport failed. Names the rank and the call."""


class CommTimeout(CommError, TimeoutError):
    """A rank did not arrive within the communicator's timeout. Names the rank and the call that waited for it."""


class CommMismatch(CommError):
    """Ranks called different collectives, ops, dtypes or shapes. Names who called what."""
