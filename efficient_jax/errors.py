"""The error for mistakes that the user can correct, and functions that write parts of its message."""

import difflib
from collections.abc import Iterable, Sequence

LISTED = 100  # most names that a message lists


class UserError(Exception):
    """A mistake that the user can correct, shown as one line (exit code 2): what is wrong, where, and what to do."""


def counted(number: int, noun: str, plural: str = "") -> str:
    """Returns a number with its noun: "1 image", "1,200 images".

    Args:
        number: how many.
        noun: the singular, also with a verb: "image is".
        plural: for more than an added s: `counted(n, "image is", "images are")`.
    """
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def class_name(name: str) -> str:
    """Returns how a sentence calls a class: "class 3" where the name is a number, which alone looks like a count.

    Args:
        name: name of the class.
    """
    return f"class {name}" if name.replace(".", "").replace("-", "").isdigit() else name


def nearest(word: str, words: Iterable[str]) -> str:
    """Returns "; did you mean 'X'?" for a name X close to `word`, else which names there are, or how many.

    Args:
        word: the unknown name.
        words: the known names.
    """
    words = sorted(words)
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there is: {', '.join(words) or 'none'}" if len(words) <= LISTED else f"; there are {len(words)} names"


def few(names: Sequence[str], most: int = 5, separator: str = ", ") -> str:
    """Returns the first names of a list, and how many more there are: "a, b and 3 more".

    Args:
        names: all of them, in the order to show.
        most: how many are shown; 1 or more.
        separator: stands between those that are shown.
    """
    shown = separator.join(names[:most])
    return f"{shown} and {len(names) - most:,} more" if len(names) > most else shown
