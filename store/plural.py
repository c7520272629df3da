"""A number with its noun in the right form, for every message of retune."""

__all__ = ["counted"]

_OF_ONE = {"are": "is", "depend": "depends", "differ": "differs", "have": "has",
           "list": "lists", "say": "says", "seem": "seems", "stand": "stands",
           "were": "was"}  # fmt: skip


def counted(number: int, noun: str, verb: str = "") -> str:
    """A number with its noun, and with a verb of `_OF_ONE` if one is given.

    Args:
        number: How many there are, at least 0.
        noun: The noun in the singular; its plural ends in -s, or in -ies for -y.
        verb: The verb in the plural, or nothing.

    >>> counted(1, "image", "have"), counted(1200, "run"), counted(2, "study")
    ('1 image has', '1,200 runs', '2 studies')
    """
    if number == 1:
        return " ".join([f"{number:,}", noun, *([_OF_ONE[verb]] if verb else [])])
    many = f"{noun[:-1]}ies" if noun.endswith(("dy", "py", "ry")) else f"{noun}s"
    return " ".join([f"{number:,}", many, *([verb] if verb else [])])
