"""The table of labels: the rows that the source `table` reads, and what somebody else has written into them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from efficient_jax.data import delimited
from efficient_jax.data.class_names import is_no_label, normal
from efficient_jax.data.dataset import HELD_OUT
from efficient_jax.errors import UserError, few
from efficient_jax.files import csv_text
from efficient_jax.labelling.answers import DECIDED, Answers, said

ABOUT = ("part", "answer", "who", "time", "said")  # columns behind the labels
TRUE = ("1", "1.0", "true")


def header(classes: Sequence[str], several: bool) -> list[str]:
    """Returns the columns: `file`, the label or a column of 0 and 1 for each class, and `ABOUT`.

    Args:
        classes: their names.
        several: whether an image can have several labels.
    """
    return ["file", *(classes if several else ["label"]), *ABOUT]


def row(file: str, answers: Answers, several: bool) -> str:
    """Returns the line of an image, "" where there is nothing to say of it but "skip".

    Without a class the label is empty, which means unlabelled; of several labels "none" is 0 for every class.

    Args:
        file: relative to the folder.
        answers: of which the outcome counts; `said` has those of all people, the oldest first.
        several: whether an image can have several labels.
    """
    outcome = answers.outcomes.get(file)
    part = answers.parts.get(file, "")
    if part not in HELD_OUT and (outcome is None or outcome.kind == "skip"):
        return ""
    labels: list[Any] = [*outcome.labels] if outcome and outcome.labels else [""]
    if several:
        decided = outcome is not None and outcome.kind in DECIDED
        labels = [int(name in labels) if decided else "" for name in answers.classes]
    everyone = "; ".join(f"{answer.who}: {said(answer)}" for answer in reversed(answers.of(file)))
    # Readers strip the spaces around a cell, which belong to the name of a file.
    name = file if file == file.strip() else f"./{file}"
    decisive = (outcome.kind, outcome.who, outcome.time) if outcome else ("", "", "")
    return csv_text([name, *labels, part, *decisive, everyone], [])


def classes_of(columns: Sequence[str]) -> list[str]:
    """Returns the columns that are classes, of a table with several labels for an image.

    Args:
        columns: all of the table.
    """
    return [name for name in columns if name not in ("file", *ABOUT)]


class Row(NamedTuple):
    """A row that somebody else may have written."""

    file: str
    labels: tuple[str, ...]
    none: bool  # 0 for every class
    part: str  # as in `data.dataset.FIXED`, or ""
    who: str  # "": the table does not say
    time: str  # "": the table does not say


def read(path: str, where: str, several: bool) -> tuple[list[Row], list[str]]:
    """Returns the rows of a table, and its columns.

    Args:
        path: the table, with a column `file`, and `label` or a column for each class.
        where: the flag that names it, for messages.
        several: whether an image can have several labels.

    Raises: UserError for a file that is no such table.
    """
    table = delimited.read(path, where, ["file", "label"])
    if "file" not in table.names or ("label" in table.names) == several:
        wanted = "a column for each class" if several else "'label'"
        raise UserError(
            f"{where}: {path!r} has the columns {few(table.names)}; answers are added to a table with the columns "
            f"'file' and {wanted}, so give another {where}"
        )
    texts = {name: table.column(name) for name in table.names}
    classes, nothing = classes_of(table.names), [""] * len(table.rows)
    rows = []
    for i, file in enumerate(texts["file"]):
        none = False
        if several:
            labels = tuple(name for name in classes if texts[name][i].lower() in TRUE)
            none = not labels and any(texts[name][i] for name in classes)
        else:
            labels = () if is_no_label(texts["label"][i]) else (normal(texts["label"][i]),)
        part, who, time = (texts.get(name, nothing)[i] for name in ("part", "who", "time"))
        rows.append(Row(file.removeprefix("./"), labels, none, part.lower(), who, time))
    return rows, list(table.names)
