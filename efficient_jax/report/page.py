"""`report.html`: results, curves, images, mistakes and config of a run on one self-contained page."""

import pathlib
from collections.abc import Sequence

import numpy as np

from efficient_jax.report import charts, plots, site, tables
from efficient_jax.report.results import StageResult, read_arrays, read_config, read_json, read_metrics, read_results
from efficient_jax.report.stage_section import LABEL_HEADERS, flatten, stage_section
from efficient_jax.report.summary import COMPARISON_HEADERS, accuracy_first, comparison_rows, figure_name, headline
from efficient_jax.types import INTERVAL, Column

LOCATED = Column("correct", "locations right, %")  # of objects in training: boxes with an IoU of 0.5
WORDS = ["accuracy", "95% interval", "augmentation", "calibration error, ECE", "confusion matrix", "loss", "won, lost"]
WORDS += ["negative log-likelihood, NLL", "p", "pseudo-label", "recall", "stage", "start", "step", "teacher"]
FIGURE_WORDS = {"mean_iou": ["boundary IoU", "IoU, mean IoU"], "ap50": ["AP, AP50, AP75", "AR, AR1, AR10, AR100"]}
"""First figure of a task -> words that only its pages have."""
SEVERAL_WORDS = ["all labels right", "average precision, mAP", "F1, macro F1, micro F1", "precision", "threshold"]


def leaks(arrays: dict[str, np.ndarray]) -> list[plots.Captioned]:
    """Returns pairs of near duplicates.

    Args:
        arrays: arrays of leaks.npz: "images" uint8 [n 2 h w c] with the held-out one first, and "lines" [n 3], on both
            and on the distance between them; {} for none.
    """
    if not arrays:
        return []
    pairs = zip(arrays["images"], arrays["lines"].tolist(), strict=True)
    return [plots.Captioned(plots.strip(images), lines) for images, lines in pairs]


def write_report(
    workdir: str | pathlib.Path, columns: Sequence[Column], confusions: bool = True, several_labels: bool = False
) -> pathlib.Path:
    """Writes `workdir/report.html`; an unfinished run is shown as far as it is.

    Args:
        workdir: folder of the run.
        columns: the figures of the task.
        confusions: whether to show confusion matrices; only where each image has exactly one class.
        several_labels: whether an image can have several labels.

    Returns:
        The path of the page.

    Raises:
        UserError: there is no config.json with stages.
    """
    workdir = pathlib.Path(workdir)
    config, run, results = read_config(workdir), read_json(workdir / "run.json"), read_results(workdir)
    metrics = {result["stage"]: read_metrics(workdir / result["stage"] / "metrics.jsonl") for result in results}
    finished = [result for result in results if "test" in result]
    headers, rows = tables.filled(tables.stage_headers(results, columns), tables.stage_rows(results, columns))
    values = {
        "title": workdir.resolve().name,
        "workdir": str(workdir),
        "run": run,
        "notes": run.get("data", {}).get("notes", []),
        "config": flatten(config),
        "headline": headline(finished, columns[0]),
        "headers": accuracy_first(headers, headers),
        "rows": [accuracy_first(row, headers) for row in rows],
        "results": results,
        "comparison_headers": COMPARISON_HEADERS,
        "comparisons": comparison_rows(config, results),
        "curves": _curves(metrics, finished, columns),
        "validated": any(name.startswith("validation_") for columns in metrics.values() for name in columns),
        "agreement": tables.agreement_line(finished) if columns[0].name == "correct" else "",  # its noise is of images
        "intervals": _intervals(columns[0]),
        "leaks": {"said": run.get("data", {}).get("leaks", []), "images": leaks(read_arrays(workdir / "leaks.npz"))},
        "stages": [
            stage_section(workdir / r["stage"], r, metrics[r["stage"]], run, columns, confusions) for r in results
        ],
        "several_labels": several_labels,
        "label_headers": LABEL_HEADERS,
        "percent": tables.percent,
        "words": WORDS + SEVERAL_WORDS * several_labels + FIGURE_WORDS.get(columns[0].name, []),
    }
    return site.write(workdir / "report.html", "page.html", values)


def _intervals(column: Column) -> str:
    """Returns how the intervals of a figure are computed, "" for one without."""
    if column.form != INTERVAL:
        return ""
    return "Wilson" if column.name == "correct" else "bootstrap of the images"


def _curves(
    metrics: dict[str, dict[str, np.ndarray]], finished: Sequence[StageResult], columns: Sequence[Column]
) -> dict[str, dict[str, charts.Chart]]:
    """Returns caption -> stage -> chart; captions without a chart are left out."""
    right = next((column for column in columns if column.name == "correct"), LOCATED)
    shares = {r["stage"]: r["test"]["correct"] / max(r["test"]["n"], 1) for r in finished if "correct" in r["test"]}
    precisions = {
        r["stage"]: r["test"]["mean_average_precision"] for r in finished if "mean_average_precision" in r["test"]
    }
    ious = {r["stage"]: r["test"]["mean_iou"] for r in finished if "mean_iou" in r["test"]}
    precise = {r["stage"]: r["test"]["ap50"] for r in finished if "ap50" in r["test"]}
    drawn = {
        figure_name(right).capitalize(): charts.learning_curves(metrics, "accuracy", right.header, 100, shares),
        "Mean average precision": charts.learning_curves(metrics, "mean_average_precision", "mAP, %", 100, precisions),
        "Average precision at IoU 0.5": charts.learning_curves(metrics, "ap50", "AP50, %", 100, precise),
        "Mean intersection over union": charts.learning_curves(metrics, "mean_iou", "mean IoU, %", 100, ious),
        "Loss": charts.learning_curves(metrics, "loss", "loss", 1, {}),
    }
    return {caption: panels for caption, panels in drawn.items() if panels}
