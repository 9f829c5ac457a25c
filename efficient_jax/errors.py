"""Errors that the user can mend, and the parts that their messages are made of."""

import difflib
from collections.abc import Iterable, Sequence

LISTED = 100  # names in a message


class UserError(Exception):
    """Something the user can mend: shown as one line, exit code 2. Says what is wrong, where, and what to do."""


def counted(number: int, noun: str, plural: str = "") -> str:
    """The number with its noun: "1 image", "1,200 images". `plural` is what has more than an s, such as a verb:
    `counted(n, "image is", "images are")`."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def nearest(word: str, words: Iterable[str]) -> str:
    """'; did you mean X?' when one of `words` is close to `word`, else which words there are, or how many."""
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
