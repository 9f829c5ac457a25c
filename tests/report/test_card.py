"""A model card says where the weights come from, and gives figures with intervals."""

import pytest

from efficient_jax.report.card import Part, card
from efficient_jax.tasks import TASKS

COLUMNS = TASKS["classification"].columns
CONFIG = {
    "seed": 1,
    "stages": ["teacher", "student", "other"],
    "teacher": {"init": "weights.pth"},
    "student": {"teacher": "teacher", "method": {"name": "noisy_student"}},
    "other": {"method": {"name": "supervised"}},
}


def part(stage: str, **more) -> Part:
    return Part(f"runs/a/{stage}", "cnn(width=4)", stage, CONFIG, {}, {}, 5)._replace(**more)


def of(*parts: Part) -> str:
    return card("a, exported as onnx", parts, COLUMNS, {"classes": "cat, dog"}, "print()", "published under MIT")


@pytest.mark.parametrize(
    ("stage", "line"),
    [
        ("teacher", "- runs/a/teacher: weights.pth: published under MIT"),
        ("student", "- runs/a/student: weights.pth: published under MIT"),  # by its teacher
        ("other", "- runs/a/other: random values; no published weights"),
    ],
)
def test_the_weights_it_began_from_are_those_of_its_teachers_too(stage, line):
    assert line in of(part(stage)).splitlines()


def test_weights_that_are_of_no_run_are_published_ones():
    text = of(Part("efficientnet-lite0", "efficientnet(variant=lite0)", "", {}, {}, {}, None))
    assert "- efficientnet-lite0: published under MIT" in text
    assert "## Training" not in text
    assert "Not measured." in text


def test_every_network_has_its_row():
    text = of(
        part("teacher", result={"test": {"correct": 8, "n": 10}}),
        part("other", result={"test": {"correct": 9, "n": 10}}),
    )
    assert "| runs/a/teacher | 10 | 80.00 [49.02, 94.33] |" in text  # Wilson's intervals
    assert "| runs/a/other | 10 | 90.00 [59.58, 98.21] |" in text


def test_leaks_and_notes_are_not_hidden():
    run = {"data": {"source": "folder", "labelled": 4, "test": 2, "notes": ["1 image is damaged"], "leaks": ["a = b"]}}
    text = of(part("other", run=run))
    assert "source `folder`; images: 4 training, 2 test" in text
    assert "- note: 1 image is damaged\n- note: a = b" in text
