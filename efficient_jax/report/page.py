"""`report.html`: everything a run folder says, on one page that loads nothing from elsewhere."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from efficient_jax.report import plots, tables, template
from efficient_jax.report.results import read_arrays, read_config, read_json, read_metrics, read_results

PRINTED_CLASSES = 20  # a confusion matrix of more classes is drawn without numbers
SHOWN_MISTAKES = 24


def flatten(config: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """(`block.key`, value) as `--config.block.key=value` names them."""
    items: list[tuple[str, Any]] = []
    for key, value in config.items():
        items += flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)]
    return items


def facts(result: dict[str, Any], metrics: dict[str, np.ndarray]) -> dict[str, str]:
    if "test" not in result:
        last = f"last logged at step {metrics['step'][-1]:,.0f}" if metrics else "not started"
        return {"not finished": last}
    several = tables.has_several_labels(result)
    found = {}
    for part in ("test", "validation"):
        if counts := result.get(part):
            what = "all labels right" if several else "accuracy"
            found[f"{part} {what}, %"] = f"{tables.accuracy(counts)} of {counts['n']:,}"
            if several:
                names = [f"{part} {name}" for name in tables.SEVERAL_LABELS.values()]
                found |= zip(names, tables.several_labels(counts), strict=True)
    found["negative log-likelihood"] = tables.figure(result["negative_log_likelihood"], ".4f")
    if "calibration_error" in result:
        found["calibration error"] = tables.figure(result["calibration_error"], ".4f")
    if result.get("update") is not None:
        found["weights of step"] = f"{result['update']:,}"
    found["seconds"] = f"{result['seconds']:,.0f}"
    if "images_per_second" in metrics:
        found["images per second (median)"] = f"{np.nanmedian(metrics['images_per_second']):,.0f}"
    return found


def sheets(samples: dict[str, np.ndarray]) -> list[tuple[str, plots.Picture]]:
    kinds = [("labelled", "raw", "augmented"), ("unlabelled", "unlabelled_raw", "unlabelled_augmented")]
    return [
        (kind, plots.contact_sheet(samples[raw], samples[augmented]))
        for kind, raw, augmented in kinds
        if raw in samples and augmented in samples and len(samples[raw])
    ]


def leaks(arrays: dict[str, np.ndarray]) -> plots.Picture | None:
    """Held-out images above, what nearly equals them below."""
    return plots.contact_sheet(arrays["images"][:, 0], arrays["images"][:, 1:]) if arrays else None


def pseudo_labels(about: dict[str, Any]) -> dict[str, Any] | None:
    """What the page shows of a `pseudo_labels.json`."""
    if not about:
        return None
    rows = about["classes"]
    totals = {part: max(sum(row[part] for row in rows), 1) for part in ("labelled", "pool", "copies")}
    shares = [{"name": row["name"]} | {part: 100 * row[part] / totals[part] for part in totals} for row in rows]
    return about | {
        "settings": flatten(about["settings"]),
        "copied": totals["copies"] > sum(row["kept"] for row in rows),
        "shares": shares,
        "longest": max(share[part] for share in shares for part in totals),
    }


def confusion(labels: Int[np.ndarray, " n"], answers: Int[np.ndarray, " n"], classes: Sequence[str]) -> dict[str, Any]:
    counts = plots.confusion(labels, answers, len(classes))
    if len(classes) > PRINTED_CLASSES:
        return {"picture": plots.heat_map(counts), "pairs": plots.most_confused(counts)}
    return {"counts": counts.tolist(), "shade": plots.shade(counts).tolist()}


def mistakes(arrays: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """Returns what the page shows of each mistake.

    Args:
        arrays: "images", "true_names" and "predicted_names" of each, and "loss" or "confidence"; {} for none.
    """
    if not arrays:
        return []
    how = "loss" if "loss" in arrays else "confidence"
    columns = [arrays[name][:SHOWN_MISTAKES] for name in ("images", "true_names", "predicted_names", how)]
    return [
        {
            "picture": plots.single(image),
            "true": str(true),
            "predicted": str(predicted),
            "how": f"loss {value:.3f}" if how == "loss" else f"{100 * value:.1f}%",
        }
        for image, true, predicted, value in zip(*columns, strict=True)
    ]


def class_names(run: dict[str, Any], count: int) -> list[str]:
    """Names from `run.json`; a class without a name goes by its index."""
    names = [str(name) for name in run.get("data", {}).get("classes", [])]
    return names + [str(i) for i in range(len(names), count)]


def stage_section(
    folder: pathlib.Path, result: dict[str, Any], metrics: dict, run: dict, confusions: bool = True
) -> dict[str, Any]:
    """Returns what the page shows of a stage.

    Args:
        folder: of the stage.
        result: its `result.json`.
        metrics: the columns of its `metrics.jsonl`.
        run: the `run.json`.
        confusions: whether a class can be taken for another: whether each image has one class.
    """
    kinds = ("samples", "predictions", "mistakes")
    arrays = {kind: read_arrays(folder / f"{kind}.npz") for kind in kinds}
    widths = [of["probabilities"].shape[1] for of in arrays.values() if "probabilities" in of]
    classes = class_names(run, max(widths, default=0))
    said = arrays["predictions"]
    return {
        "name": result["stage"],
        "facts": facts(result, metrics),
        "classes": classes,
        "sheets": sheets(arrays["samples"]),
        "pseudo_labels": pseudo_labels(read_json(folder / "pseudo_labels.json")),
        "confusion": confusion(said["label"], said["probabilities"].argmax(1), classes)
        if said and confusions
        else None,
        "mistakes": mistakes(arrays["mistakes"]),
    }


def write_report(workdir: str | pathlib.Path, confusions: bool = True) -> pathlib.Path:
    """Writes `workdir/report.html`; a run under way is shown as far as it is.

    Args:
        workdir: the folder of the run.
        confusions: whether a class can be taken for another: whether each image has one class.

    Returns: the path of the page.
    """
    workdir = pathlib.Path(workdir)
    config, run, results = read_config(workdir), read_json(workdir / "run.json"), read_results(workdir)
    curves = {result["stage"]: read_metrics(workdir / result["stage"] / "metrics.jsonl") for result in results}
    finished = [result for result in results if "test" in result]
    values = {
        "title": workdir.resolve().name,
        "workdir": str(workdir),
        "run": run,
        "config": flatten(config),
        "headers": tables.stage_headers(results),
        "rows": tables.stage_rows(results),
        "curves": {
            "Loss of the training batches, as augmented": plots.learning_curves(curves, "loss"),
            "Accuracy on the training batches, as augmented": plots.learning_curves(curves, "accuracy"),
        },
        "agreement": tables.agreement_line([result for result in results if "test" in result]),
        "leaks": {"said": run.get("data", {}).get("leaks", []), "sheet": leaks(read_arrays(workdir / "leaks.npz"))},
        "stages": [stage_section(workdir / r["stage"], r, curves[r["stage"]], run, confusions) for r in results],
        "last": finished[-1] if finished else None,
        "several_labels": any(map(tables.has_several_labels, results)),
        "accuracy": tables.accuracy,
        "percent": tables.percent,
    }
    return template.write(workdir / "report.html", "page.html", values)
