"""daemon/program — which release of the program this is."""

from importlib.metadata import PackageNotFoundError, version


def program_version() -> str:
    try:
        return version("gpu-agent")
    except PackageNotFoundError:  # run from a checkout
        return "0"
