"""socket_floods — a hostile job, as a process of its own: `python socket_floods.py SOCKET FLOOD SECONDS`. Says how many bytes it got rid of."""

import socket
import sys
import threading
import time
from contextlib import suppress

HELLO = b'{"id":0,"call":"hello"}\n'
VALUES = b'{"id":1,"call":"start_job","name":"x","payload":{"a":[' + b",".join([b"[]"] * 330_000) + b"]}}\n"
METRICS = b'{"id":1,"call":"report","seq":1,"metrics":[' + b",".join([b'["loss",1,1.5]'] * 19_000) + b"]}\n"
RESULT = b'{"id":1,"call":"finish","status":"succeeded","bytes":8388608}\n' + b"1" * 8_388_608
FLOODS = {
    "calls": b'{"id":1,"call":"get_job_status","job_id":"x"}\n' * 1000,
    "no_calls": b'{"id":1}\n' * 5000,
    "values": VALUES,
    "metrics": METRICS,
    "results": RESULT,
    "no_end": b'{"id":1,"call":"' + b"x" * 1_000_000,
    "no_json": b"\0" * 100_000 + b"\n",
}
CONNECTIONS = 6


def flood(path: str, data: bytes, end: float, sent: list[int]) -> None:
    """Without reading an answer, on one connection after another."""
    while time.monotonic() < end:
        try:
            with socket.socket(socket.AF_UNIX) as one:
                one.settimeout(0.5)
                one.connect(path)
                one.sendall(HELLO)
                while time.monotonic() < end:
                    push(one, data, end, sent)
        except OSError:
            continue


def push(one: socket.socket, data: bytes, end: float, sent: list[int]) -> None:
    """All of it, however long nobody reads."""
    rest = memoryview(data)
    while rest and time.monotonic() < end:
        with suppress(TimeoutError):
            count = one.send(rest)
            rest = rest[count:]
            sent[0] += count


def main() -> None:
    path, name, seconds = sys.argv[1:]
    sent, end = [0], time.monotonic() + float(seconds)
    threads = [
        threading.Thread(target=flood, args=(path, FLOODS[name], end, sent)) for _ in range(CONNECTIONS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.stdout.write(f"{sent[0]}\n")


if __name__ == "__main__":
    main()
