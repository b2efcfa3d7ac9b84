"""cli/escape — the way out of a terminal whose other side answers no more: `~.` at the start of a line. Pure: bytes in, bytes out."""

TILDE, DOT = ord("~"), ord(".")
LINE_ENDS = frozenset(b"\r\n")


class Escape:
    """As ssh has it: Enter, `~`, `.` leaves, and `~~` is one `~`. A `~` that begins a line waits for what follows it."""

    def __init__(self) -> None:
        self._is_at_start = True
        self._has_tilde = False
        self.is_left = False

    def feed(self, typed: bytes) -> bytes:
        """What goes to the other side. After `is_left`, nothing does."""
        sent = bytearray()
        for sign in typed:
            if self.is_left:
                break
            if self._has_tilde:
                self._has_tilde = False
                if sign == DOT:
                    self.is_left = True
                    continue
                sent.append(TILDE)
                if sign == TILDE:
                    self._is_at_start = False
                    continue
            elif self._is_at_start and sign == TILDE:
                self._has_tilde = True
                continue
            sent.append(sign)
            self._is_at_start = sign in LINE_ENDS
        return bytes(sent)
