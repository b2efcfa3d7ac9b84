"""adapters/sqlite/where — the conditions of a list's query, gathered one by one. Knows no table."""

LAST_CHARACTER = chr(0x10FFFF)


class Where:
    """Conditions that all must hold, and the values that they name."""

    def __init__(self, limit: int) -> None:
        self._conditions: list[str] = []
        self.values: dict[str, object] = {"limit": limit}

    def want(self, condition: str, **named: object) -> None:
        self._conditions.append(condition)
        self.values |= named

    def want_prefix(self, column: str, prefix: str) -> None:
        """As a range, which an index can be walked by."""
        condition = f"{column} >= :prefix AND {column} < :prefix_end"
        self.want(condition, prefix=prefix, prefix_end=prefix + LAST_CHARACTER)

    def text(self) -> str:
        return " AND ".join(self._conditions) or "TRUE"
