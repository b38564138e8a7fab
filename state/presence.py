"""Who has an SQLite state store open, and whether the last one to have it could close it.

Every process holds a shared lock on a file beside the store; the system frees it when the process ends,
however it ends. Who gets it alone is the first. A log beside the store then tells of an unclean stop:
SQLite removes it when the last one closes. (A lock on the store itself would break SQLite's own.)
"""

import fcntl
import os
from pathlib import Path

from state.errors import StateError


class Presence:
    """Holds the lock of a state store's file until it is closed. Raises OSError where it cannot be had.

    `after_unclean_stop` says that nobody else has the store open, and that somebody was stopped in it.
    """

    def __init__(self, file: Path) -> None:
        self._lock = _open(file)
        try:
            is_first = _try(self._lock, fcntl.LOCK_EX)
            self.after_unclean_stop = is_first and _has_log(file)
            if not self.after_unclean_stop:
                self.share()
        except BaseException:
            self.close()
            raise

    def share(self) -> None:
        """Let others in; until then, who came after an unclean stop has the store alone."""
        fcntl.flock(self._lock, fcntl.LOCK_SH)

    def close(self) -> None:
        os.close(self._lock)


class Absence:
    """Keeps everybody out of a state store while it is open. Raises StateError when somebody is in."""

    def __init__(self, file: Path) -> None:
        self._lock = _open(file)
        if not _try(self._lock, fcntl.LOCK_EX):
            os.close(self._lock)
            raise StateError(f"{file}: Cartwire has it open; stop the worker, and whatever else runs")

    def __enter__(self) -> None:
        """Have nothing more to do: the lock was taken at once."""

    def __exit__(self, *_: object) -> None:
        os.close(self._lock)


def _open(file: Path) -> int:
    """Open the lock, beside the file itself where links lead to it: each way in meets the same one."""
    real = file.resolve()
    return os.open(real.with_name(f".{real.name}.open"), os.O_RDWR | os.O_CREAT, 0o600)


def _try(lock: int, kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _has_log(file: Path) -> bool:
    real = file.resolve()  # where SQLite keeps it, too
    log = real.with_name(f"{real.name}-wal")
    return log.exists() and log.stat().st_size > 0
