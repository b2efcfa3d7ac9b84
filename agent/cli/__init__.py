"""cli — the command line: arguments in, exit code out. A client of the HTTP API, apart from what works on the host itself."""


def main() -> None:
    """The console script `gpu-agent`."""
    # Here, so that whoever imports one room of the package does not import them all.
    from agent.cli.app import app  # noqa: PLC0415 - see above

    app(prog_name="gpu-agent")
