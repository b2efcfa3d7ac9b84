"""adapters/jobsocket/child — the process that reads large lines: JSON of 2 MiB would hold the daemon's loop for a tenth of a second.

Frames in and out: four bytes of length, then so many bytes. A frame in is a line. The answer is a frame of JSON, then one for the
payload if it says so, then as many as it says of metrics. It ends with its stdin, so it never outlives the daemon.
"""

import gc
import json
import os
import signal
import sys
from contextlib import suppress
from typing import BinaryIO

from agent.adapters.jobsocket.reading import LENGTH, NoRequest, read_request

# Others on the host come first: who sends large lines can wait for them.
_NICE = 10


def main() -> None:
    with suppress(OSError):  # its unit may forbid it, and all that is lost by that is others' precedence
        os.nice(_NICE)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: it is the daemon's to end us
    # What is read is dropped at once, and never in circles: to look for those would take most of the time.
    gc.disable()
    serve(sys.stdin.buffer, sys.stdout.buffer)


def serve(incoming: BinaryIO, outgoing: BinaryIO) -> None:
    while head := incoming.read(LENGTH.size):
        frames = answer(incoming.read(LENGTH.unpack(head)[0]))
        outgoing.write(b"".join(LENGTH.pack(len(frame)) + frame for frame in frames))
        outgoing.flush()


def answer(line: bytes) -> list[bytes]:
    read = read_request(line)
    if isinstance(read, NoRequest):
        return [json.dumps({"message": read.message, "id": read.id, "is_json": read.is_json}).encode()]
    call = read.call
    head: dict[str, object] = {
        "id": read.id,
        "name": call.name,
        "fields": call.fields,
        "has_payload": call.payload is not None,
        "pieces": len(call.metrics),
    }
    payload = [] if call.payload is None else [call.payload]
    return [json.dumps(head).encode(), *payload, *(json.dumps(piece).encode() for piece in call.metrics)]


if __name__ == "__main__":
    main()
