"""sdk/chutes_launch — the command of a function job's container. In the grammar of the first Python 3, so that an old one can say that it is."""

import os
import sys


def launch() -> None:
    if sys.version_info < (3, 8):  # noqa: UP036 — whatever Python the image has runs this line
        found = ".".join(map(str, sys.version_info[:2]))
        sys.exit("function jobs need Python 3.8 or newer in the image, and its python3 is " + found)
    sdk = os.path.dirname(os.path.abspath(__file__))
    if os.path.realpath(sys.path[0]) != os.path.realpath(sdk):
        # The image has PYTHONSAFEPATH.
        sys.path.insert(0, sdk)
    from chutes._runtime.running import main  # noqa: PLC0415 — an older Python can't read it

    main(os.path.dirname(sdk))


# A pool that spawns its workers imports this file in each.
if __name__ == "__main__":
    launch()
