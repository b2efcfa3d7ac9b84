"""launch — the command of a function job's container. Python 2's grammar, so that an old Python can say that it is one."""

import os
import sys


def launch():
    if sys.version_info < (3, 8):
        sys.exit("function jobs need Python 3.8 or newer in the image, and its python3 is %d.%d" % sys.version_info[:2])
    from chutes._runtime.running import main

    main(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


# A pool that spawns its workers imports this file in each.
if __name__ == "__main__":
    launch()
