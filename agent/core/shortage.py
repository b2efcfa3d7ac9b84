"""core/shortage — which of the system's errors are the host's own and pass: nobody's doing, and no word about any file. Pure."""

import errno

# No descriptors, no memory, no threads.
_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})


def is_shortage(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in _SHORTAGES
