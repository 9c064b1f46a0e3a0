"""Files that appear at once or not at all: written in a folder beside their place, then renamed.

A draft is a hidden folder in the target's parent, ``.pyscale-RANDOM.draft``, which its writer holds a lock on
(`flock`). The kernel lets go of the lock when the writer ends, however it ends: so a draft that can be locked
is one of the dead, and the next writer removes it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from pyscale.comm import Communicator
from pyscale.comm.together import together
from pyscale.errors import CommError

_TRIES = 1000  # to make a draft, while others remove its parent
# File systems may have no locks; what is left on them by the dead is not told from what is being written.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def draft(target: Path) -> Iterator[Path]:
    """Make a draft beside `target`; whatever is in it at the end goes away.

    `move` takes out of it what is to stay. Parents are made, and go away where nothing has come into them.
    """
    new = [parent for parent in target.parents if not parent.exists()]
    remove_drafts_of_the_dead(target.parent)
    folder, lock = _make(target.parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)
        with suppress(OSError):
            for parent in new:
                parent.rmdir()


@contextmanager
def shared_draft(target: Path, comm: Communicator | None) -> Iterator[Path]:
    """Make a draft that all ranks write in. Collective, at both ends: it is gone before any rank goes on.

    Rank 0 makes and removes it. What the block raises, it raises on all ranks.
    """
    with ExitStack() as stack:
        folder = None
        with together(comm, "draft"):
            if comm is None or comm.rank == 0:
                folder = stack.enter_context(draft(target))
        if comm is not None:
            folder = comm.broadcast_object(folder)
        assert folder is not None
        try:
            yield folder
        except CommError:
            raise
        except Exception:
            _leave(stack, comm)
            raise
        _leave(stack, comm)


def _leave(stack: ExitStack, comm: Communicator | None) -> None:
    stack.close()
    if comm is not None:
        comm.barrier()


def move(source: Path, target: Path) -> None:
    """Put a file or folder of a draft in its place, on the disk before it is seen there.

    A file replaces another; a folder replaces an empty one only, and is an OSError otherwise.
    """
    for folder, _, files in os.walk(source):
        for name in files:
            _sync(Path(folder, name))
        _sync(Path(folder))
    if source.is_file():
        _sync(source)
    os.replace(source, target)
    _sync(target.parent)


def remove_drafts_of_the_dead(parent: Path) -> None:
    """Remove the drafts in a folder whose writers have ended without doing so."""
    for folder in parent.glob(".pyscale-*.draft"):
        with suppress(OSError):  # another has removed it, or may do what this process may not
            if (lock := _lock(folder)) is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def _make(parent: Path) -> tuple[Path, int]:
    tries = 0
    while True:
        tries += 1
        folder = parent / f".pyscale-{secrets.token_hex(8)}.draft"
        parent.mkdir(parents=True, exist_ok=True)
        # Between these lines, another may take the parent for one that nobody needs, or the draft for one of
        # the dead.
        try:
            folder.mkdir()
            lock = _lock(folder)
        except FileNotFoundError:
            if tries >= _TRIES:  # as in /proc, where nothing can be made
                raise
            continue
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        if lock is not None:
            return folder, lock


def _lock(folder: Path) -> int | None:
    """Lock a folder, if it is not locked, and return its descriptor."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.stat(folder).st_ino == os.fstat(descriptor).st_ino:
            return descriptor
    except BlockingIOError:
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
