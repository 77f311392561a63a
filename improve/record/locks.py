"""File systems that know no locks: told in a sentence, before two processes work on the same."""

from __future__ import annotations

import errno
from pathlib import Path

from improve.errors import ConfigError

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


def without_locks(folder: Path, error: OSError) -> ConfigError:
    """The error for people where the file system that holds `folder` gave this one for a lock."""
    return ConfigError(
        f"{folder} lies on a file system that gives no locks ({error.strerror}), and two processes could change the "
        "same without knowing.",
        "choose folders on another one (outputs=DIR for runs, cache_dir=DIR for prepared images), or mount it with "
        "locks (Lustre: -o flock; NFS: version 4, or the lock service of version 3)",
    )
