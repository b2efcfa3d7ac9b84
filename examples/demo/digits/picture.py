"""picture — draws a confusion matrix as a PNG, with numpy and zlib alone. No plotting library: it would be half of the image."""

import struct
import zlib

import numpy as np

CELL = 12  # "pixels" of a cell, before scaling
SCALE = 4
WHITE = np.array([255, 255, 255], dtype=np.uint8)
INK = np.array([40, 44, 52], dtype=np.uint8)
RIGHT = np.array([38, 110, 180], dtype=np.uint8)
WRONG = np.array([214, 69, 65], dtype=np.uint8)
# 3 by 5 dots a digit, one octal number a row.
GLYPHS = ["75557", "26227", "71747", "71717", "55711", "74717", "74757", "71111", "75757", "75717"]


def confusion_picture(counts: np.ndarray) -> bytes:
    """Rows are the true digits, columns what was read: blue where they agree, red where they don't."""
    size = len(counts)
    canvas = np.full(((size + 1) * CELL, (size + 1) * CELL, 3), WHITE, dtype=np.uint8)
    for digit in range(size):
        write(canvas, digit + 1, 0, digit, INK)
        write(canvas, 0, digit + 1, digit, INK)
    for (row, column), count in np.ndenumerate(counts):
        colour = RIGHT if row == column else WRONG
        share = count / max(1, counts[row].sum())
        strength = share if row == column else min(1.0, share * 8)  # one wrong one in 50 must be seen
        fill(canvas, row + 1, column + 1, blend(WHITE, colour, strength))
        if count:
            write(canvas, row + 1, column + 1, int(count), WHITE if strength > 0.5 else INK)
    return png(canvas.repeat(SCALE, axis=0).repeat(SCALE, axis=1))


def fill(canvas: np.ndarray, row: int, column: int, colour: np.ndarray) -> None:
    canvas[row * CELL : (row + 1) * CELL - 1, column * CELL : (column + 1) * CELL - 1] = colour


def write(canvas: np.ndarray, row: int, column: int, number: int, colour: np.ndarray) -> None:
    text = str(number)
    top, left = row * CELL + 3, column * CELL + (CELL - 1 - (4 * len(text) - 1)) // 2
    for place, digit in enumerate(text):
        for y, bits in enumerate(GLYPHS[int(digit)]):
            for x in range(3):
                if int(bits) & (4 >> x):
                    canvas[top + y, left + 4 * place + x] = colour


def blend(start: np.ndarray, end: np.ndarray, share: float) -> np.ndarray:
    return (start + (end.astype(float) - start) * share).astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    """An 8-bit RGB PNG (RFC 2083) of an array of height, width, 3."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
