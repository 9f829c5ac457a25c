"""evaluate: trained members and files of predictions, alone and together, on the test images of their run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from efficient_jax import binding, classification, judging, predictions, records
from efficient_jax.inference import voting
from efficient_jax.inference.tta import VIEWS
from efficient_jax.judging import Member
from efficient_jax.report import tables
from efficient_jax.training import checkpoint
from efficient_jax.types import UserError

HEADERS = ["member", "test accuracy, % [95% interval]", "balanced, %", "macro F1, %", "NLL", "ECE", "its floor"]
SEVERAL_LABELS_HEADERS = ["member", "all labels right, % [95% interval]", *tables.SEVERAL_LABELS.values(), "NLL"]
TEMPERED_HEADERS = ["member", "temperature", "NLL", "ECE"]
PAIR_HEADERS = ["first", "second", "differ, %", "errors' correlation", "won", "lost", "p"]


def evaluate(
    members: str = "", vote: str = "soft", weights: str = "", soup: str = "", tta: str = "none", out: str = ""
) -> None:
    """Shows what `members` are worth, RUN[/STAGE][@UPDATE] or files of predictions (.npz, .csv), separated by commas;
    RUN/STAGE@* are all checkpoints that a stage kept.

    Several vote: `vote` is soft, the mean of probabilities, or hard, the most frequent answer; `weights` are numbers,
    one for each. `soup`, uniform or greedy, is the model of their mean weights, with batch statistics of its own.
    With `tta` each model answers by the mean over several views of every image, itself always one: flips, d4, shifts,
    crops, ten_crops, scales (see `efficient_jax.inference.tta`); a mirrored digit or text is another.
    `out` names a folder for evaluation.json, predictions.npz (of the vote or the soup) and the soup's checkpoint.
    """
    console = Console(markup=False, highlight=False)
    if not members:
        raise UserError("evaluate: --members=RUN[/STAGE],... is missing")
    binding.choose(vote, voting.VOTES, "--vote")
    names = judging.named(members)
    binding.choose(tta, VIEWS, "--tta")
    found = [judging.member(name, console, tta) for name in names]
    folder = _folder(out)
    if soup:
        binding.choose(soup, dict.fromkeys(judging.SOUPS), "--soup")
        made, variables, description, inside = judging.soup(names, soup, console, tta)
        console.print(f"{made.name}: {', '.join(inside)}", soft_wrap=True)
        found.append(made)
        if folder:
            with checkpoint.open_manager(folder / "soup") as manager:
                checkpoint.save(manager, 0, {"ema": variables}, description, None)
    singles = found[: len(names)]
    if len(names) > 1:
        found.append(judging.together(singles, vote, _numbers(weights)))
    scores = {each.name: judging.figures(each) for each in found}
    several = found[0].test.labels.ndim == 2
    console.print(tables.rich_table(SEVERAL_LABELS_HEADERS if several else HEADERS, _rows(scores, several)))
    about: dict[str, Any] = {"members": scores}
    if not several:
        about |= _compared(singles, scores, console)
        for each in found:
            scores[each.name]["classes"] = classification.per_class(each.answers, each.test.labels, each.test.classes)
    if folder:
        records.write_json(folder / "evaluation.json", about)
        predictions.write(folder / "predictions.npz", found[-1].test)


def _folder(out: str) -> Path | None:
    if not out:
        return None
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out: cannot write to {out!r}: {error.strerror}") from error
    return Path(out)


def _numbers(text: str) -> list[float]:
    try:
        return [float(word) for word in text.split(",") if text]
    except ValueError as error:
        raise UserError(f"--weights: {text!r}; want numbers separated by commas") from error


def _rows(scores: Mapping[str, Mapping[str, Any]], several: bool) -> list[list[str]]:
    rows = []
    for name, found in scores.items():
        row = [name, tables.accuracy(found)]
        if several:
            row += tables.several_labels(found)
        else:
            row += [f"{100 * found[key]:.2f}" for key in ("balanced_accuracy", "macro_f1")]
        row.append(f"{found['negative_log_likelihood']:.3f}")
        rows.append(row if several else [*row, *(f"{found[f'calibration_{key}']:.3f}" for key in ("error", "floor"))])
    return rows


def _compared(found: list[Member], scores: Mapping[str, Mapping[str, Any]], console: Console) -> dict[str, Any]:
    """What is said of members beside each other, and of all after a temperature."""
    tempered = [
        [
            name,
            *(
                f"{of[key]:.3f}"
                for key in ("temperature", "tempered_negative_log_likelihood", "tempered_calibration_error")
            ),
        ]
        for name, of in scores.items()
        if "temperature" in of
    ]
    if tempered:
        console.print("divided by the temperature that fits their validation images:")
        console.print(tables.rich_table(TEMPERED_HEADERS, tempered))
    if len(found) < 2:
        return {}
    pairs = judging.comparison(found)
    cells = [
        [
            row["first"],
            row["second"],
            f"{100 * row['disagreement']:.1f}",
            f"{row['error_correlation']:.2f}",
            str(row["won"]),
            str(row["lost"]),
            f"{row['p_value']:.3f}",
        ]
        for row in pairs
    ]
    console.print(tables.rich_table(PAIR_HEADERS, cells))
    about: dict[str, Any] = {"pairs": pairs}
    if chosen := judging.selection(found):
        about["selection"] = [{"member": name, "accuracy": score} for name, score in zip(*chosen, strict=True)]
        steps = ", ".join(f"{name} {100 * score:.2f}%" for name, score in zip(*chosen, strict=True))
        console.print(f"who adds what to a soft vote, on validation images: {steps}", soft_wrap=True)
    return about
