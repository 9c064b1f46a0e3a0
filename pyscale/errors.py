"""The exceptions of pyscale; bad arguments are ``TypeError`` and ``ValueError`` as everywhere."""


class PyscaleError(Exception):
    """Base class of what pyscale raises besides ``TypeError``, ``ValueError`` and ``ImportError``."""


class CommError(PyscaleError):
    """A collective could not be done: a rank died or left, or the transport failed."""


class CommTimeout(CommError, TimeoutError):
    """A rank did not arrive within the communicator's timeout."""


class CommMismatch(CommError):
    """Ranks called different collectives, ops, dtypes or shapes. Names who called what."""


class DataError(PyscaleError):
    """A file or its contents are not what they were said to be."""


class QueueFull(PyscaleError):
    """A request came to a batcher whose queue has no room for it."""


class BatcherClosed(PyscaleError):
    """A request came to a batcher that was closed, or was still queued when it was."""
