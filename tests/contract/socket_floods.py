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
SERVE = b'{"id":1,"call":"serve"}\n'
STREAM = b'{"status":200,"content_type":"a/b","stream":true}\n'
WHOLE = b'{"status":200,"content_type":"a/b","bytes":8388608}\n'
# What a cord answers, again and again.
ANSWERS = {
    "small_frames": STREAM + b"\0\0\0\1x" * 1_000_000 + bytes(4),
    "frames": STREAM + (b"\0\1\0\0" + bytes(1 << 16)) * 200 + bytes(4),
    "answers": WHOLE + bytes(8_388_608),
    "heads": b'{"error":{"kind":"raised","message":"' + b"\\n" * 32_000 + b'"}}\n',
    "lists": b'{"error":{"kind":"raised","a":[' + b",".join([b"[]"] * 21_000) + b"]}}\n",
}


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


def serve(path: str, answer: bytes, end: float, sent: list[int]) -> None:
    """One connection on which calls are answered as fast as they come."""
    with suppress(OSError), socket.socket(socket.AF_UNIX) as one:
        one.settimeout(0.5)
        one.connect(path)
        one.sendall(SERVE)
        while time.monotonic() < end:
            with suppress(TimeoutError):
                if one.recv(1 << 16).endswith(b"}}\n"):
                    push(one, answer, end, sent)


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
    work = (flood, FLOODS[name]) if name in FLOODS else (serve, ANSWERS[name])
    threads = [threading.Thread(target=work[0], args=(path, work[1], end, sent)) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.stdout.write(f"{sent[0]}\n")


if __name__ == "__main__":
    main()
