"""The multipart body of a deploy, by hand: what a client of any language would send."""

import json

BOUNDARY = "0123456789abcdef0123456789abcdef"
FORM = f"multipart/form-data; boundary={BOUNDARY}"


def deploy_form(deploy: object, code: bytes) -> bytes:
    parts = [("deploy", "application/json", json.dumps(deploy).encode()), ("code", "application/x-tar", code)]
    lines = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\nContent-Type: {media}\r\n\r\n'.encode()
        + content
        + b"\r\n"
        for name, media, content in parts
    ]
    return b"".join(lines) + f"--{BOUNDARY}--\r\n".encode()
