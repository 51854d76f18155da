from collections.abc import Buffer

def add_up(table: Buffer, text: str, starts: int, /) -> int:
    """Return the sum of the weights of the pieces that begin at one of the first octets of a text."""
