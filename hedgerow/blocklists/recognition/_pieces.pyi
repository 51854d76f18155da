from collections.abc import Buffer, Collection

def add_up(table: Buffer, text: str, starts: int, /) -> int:
    """Return the sum of the weights of the pieces that begin at one of the first octets of a text."""

def add_up_topics(table: Buffer, text: str, /) -> tuple[int, ...]:
    """Return the sum of the weights of all pieces in a text, for each topic."""

def find_fragments(table: Buffer, text: str, /) -> Collection[int]:
    """Return the numbers of all fragments in a text, each once."""
