"""The model card of exported networks: what they are and were trained on, how good they are, how to load them."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from efficient_jax.errors import counted, few
from efficient_jax.report import layout, tables
from efficient_jax.report.summary import figure_name
from efficient_jax.types import INTERVAL, Column

STREAMS = {"labelled": "training", "unlabelled": "training, without labels", "validation": "validation", "test": "test"}
WIDTH = 120


class Part(NamedTuple):
    """One of the networks in a file."""

    name: str  # as the user called it
    model: str  # architecture and settings
    stage: str  # name in its run; "" for published weights
    config: Mapping[str, Any]  # of its run, {} for published weights
    run: Mapping[str, Any]  # its run.json, {} where there is none
    result: Mapping[str, Any]  # its result.json, {} where there is none
    step: int | None  # after which step its weights were saved


def card(
    title: str, parts: Sequence[Part], columns: Sequence[Column], facts: Mapping[str, str], code: str, published: str
) -> str:
    """Returns a model card in Markdown.

    Args:
        title: the first line.
        parts: the networks; one, or those whose probabilities are averaged.
        columns: the figures of the task.
        facts: what a caller must know: name -> text.
        code: Python lines that load the file.
        published: what is known of published weights that are not of a run.
    """
    networks = [f"- {part.model} ({part.name})" for part in parts]
    sections = {
        "What it is": [*networks, "", *(f"- {name}: {text}" for name, text in facts.items())],
        "Load it": ["```python", code.rstrip(), "```"],
        "Data": [line for part in parts for line in _data(part)],
        _named(columns[0]): _figures(parts, columns),
        "Training": [line for part in parts for line in _training(part)],
        "The weights it began from": [line for part in parts for line in _beginnings(part, published)],
        "Limits": [line.format(figure=_named(columns[0])) for line in LIMITS],
    }
    body = (f"## {name}\n\n" + "\n".join(dict.fromkeys(lines)) for name, lines in sections.items() if lines)
    return f"# {title}\n\n" + "\n\n".join(body) + "\n"


LIMITS = [
    "- It knows its classes only: what else an image shows is taken for one of them, or missed.",
    "- {figure} on images that are made in another way than the test images was not measured; expect less.",
    "- Images must be prepared as said above: with another size, crop or interpolation expect less, too.",
]


def _data(part: Part) -> list[str]:
    data = part.run.get("data", {})
    sizes = [f"{data[name]:,} {what}" for name, what in STREAMS.items() if data.get(name)]
    if not sizes:
        return [f"- {part.name}: its run says nothing of the data"] if part.stage else []
    fingerprint = f", fingerprint {data['fingerprint']}" if data.get("fingerprint") else ""
    lines = [f"- {part.name}: source `{data.get('source', '')}`{fingerprint}; images: {', '.join(sizes)}"]
    return lines + [f"- note: {note}" for note in (*data.get("notes", ()), *data.get("leaks", ()))]


def _named(column: Column) -> str:
    name = figure_name(column)
    return name[:1].upper() + name[1:]


def _figures(parts: Sequence[Part], columns: Sequence[Column]) -> list[str]:
    measured = [part for part in parts if part.result.get("test", {}).get("n")]
    if not measured:
        return ["Not measured."]
    rows = [
        [
            part.name,
            f"{part.run.get('data', {}).get('test') or part.result['test']['n']:,}",
            *tables.cells(columns, part.result["test"]),
        ]
        for part in measured
    ]
    headers = ["network", "test images", *tables.headers(columns, measured[0].result["test"])]
    about = "Of each network alone, as `train` measured it, at temperature 1 and without test-time augmentation."
    if columns[0].form == INTERVAL:
        about += " The interval is for other test images of the same kind, not for another training."
    return [layout.markdown(headers, rows).rstrip(), "", *textwrap.wrap(about, WIDTH)]


def _training(part: Part) -> list[str]:
    if not part.stage:
        return []
    block, versions = part.config.get(part.stage, {}), part.run.get("versions", {})
    method = block.get("method", {}).get("name", "unknown method")
    about = [f"stage `{part.stage}`, method `{method}`"]
    about += [counted(part.step, "step")] if part.step is not None else []
    about += [f"{counted(labels, 'label')}"] if (labels := part.result.get("labels")) is not None else []
    about += [f"seed {part.config.get('seed')}", f"trained {part.run.get('time', '')[:10]}"]
    about += [f"jax {versions['jax']}"] if "jax" in versions else []
    return [f"- {part.name}: {', '.join(about)}", *([f"  `{command}`"] if (command := part.run.get("command")) else [])]


def _beginnings(part: Part, published: str) -> list[str]:
    """Returns a line for each file of weights that the stage, or one that it learned from, began with."""
    if not part.stage:
        return [f"- {part.name}: {published}"]
    stages, seen, outside = part.config.get("stages", ()), [part.stage], list[str]()
    for stage in seen:
        for key in ("init", "teacher"):
            value = part.config.get(stage, {}).get(key) or ()
            for name in (value,) if isinstance(value, str) else value:
                (seen if name in stages else outside).extend([] if name in (*seen, *outside) else [name])
    if not outside:
        return [f"- {part.name}: random values; no published weights"]
    return [f"- {part.name}: {few(outside)}: {published}"]
