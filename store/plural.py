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
    many = f"{noun[:-1]}ies" if noun.endswith(("dy", "py", "ry")) else f"{noun}s"
    words = [f"{number:,}", noun if number == 1 else many]
    if verb:
        # Looked up whatever the number: a verb that is missing shows at once.
        of_one = _OF_ONE[verb]
        words.append(of_one if number == 1 else verb)
    return " ".join(words)
