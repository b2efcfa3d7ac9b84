"""The real engine keeps the contract that the fake keeps."""

from tests.contract.engine_contract import EngineContract


class TestDockerEngine(EngineContract):
    """Its fixture `stage` is conftest's."""
