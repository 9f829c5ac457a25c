"""What a run stores of a stage, with names that attack the page, and the tags and cells of a page."""

import html.parser
import json

import numpy as np

ATTACK = "<script>alert(1)</script>"

COUNTS = ("pool", "pool_known", "pool_right", "kept", "right", "wrong", "unknown", "labelled", "true", "copies")
PSEUDO = {
    "teacher_hash": "0123456789abcdef",
    "settings": {"threshold": 0.75, "soft": True},
    "pool": 7,
    "kept": 2,
    "known": 2,
    "right": 1,
    "pool_known": 4,
    "pool_right": 3,
    "classes": [
        {"name": ATTACK} | dict(zip(COUNTS, (5, 3, 2, 2, 1, 1, 0, 6, 8, 3), strict=True)),
        {"name": "$\\frac"} | dict(zip(COUNTS, (2, 1, 1, 0, 0, 0, 0, 18, 1, 0), strict=True)),
    ],
    "confidence": [{"name": "0.7–0.8"} | dict(zip(COUNTS[:7], (7, 4, 3, 2, 1, 1, 0), strict=True))],
    "without": ["$\\frac"],
    "warnings": [f"no pseudo-label is {ATTACK}"],
}


class Page(html.parser.HTMLParser):
    """Tags with their attributes, and the text of every table cell."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.cells = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "td":
            self.cells.append("")

    def handle_data(self, data):
        if self.cells and self.lasttag == "td":
            self.cells[-1] += data.strip()


def write_stage(folder, *, correct, teacher=None):
    folder.mkdir()
    lines = [{"step": 10 * i, "loss": 1.0 / i, "accuracy": 0.1 * i, "images_per_second": 100.0} for i in (1, 2, 3)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    images = np.zeros((2, 8, 8, 1), np.uint8)
    np.savez(folder / "samples.npz", raw=images, augmented=np.stack([images, images], axis=1))
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]], np.float32)
    ids = np.arange(3)
    np.savez(folder / "predictions.npz", id=ids, probabilities=probabilities, label=np.array([0, 1, 1]))
    one = np.array([1])
    np.savez(
        folder / "mistakes.npz",
        images=images[:1],
        id=one,
        label=one,
        predicted=one - 1,
        true_names=np.array(["b"]),
        predicted_names=np.array([ATTACK]),
        file_names=np.array(["3.png"]),
        confidence=np.array([0.7]),
    )
    if teacher:
        (folder / "pseudo_labels.json").write_text(json.dumps(PSEUDO | {"teacher": teacher}))
    result = {
        "stage": folder.name,
        "parameters": 4321,
        "labels": 20,
        "steps": 30,
        "images_seen": 960,
        "pseudo_labels": {"pool": 3, "kept": 2, "known": 2, "right": 1, "classes_without": 1} if teacher else None,
        "test": {"correct": correct, "n": 100},
        "validation": {"correct": 45, "n": 50},
        "seconds": 1.5,
        "negative_log_likelihood": 0.4321,
        "calibration_error": 0.0123,
    }
    (folder / "result.json").write_text(json.dumps(result))
