"""What is counted of pseudo-labels."""

import json

import numpy as np

from efficient_jax.experiment.pseudo_labels.audit import audit, of_classes, of_predictions
from tests.experiment.pseudo_labels.test_csv_table import CLASSES, IDS, LABELLED, SEVERAL, SOURCE, P

COPIES = np.array([2, 1, 1, 0, 3])


def counted(source=SOURCE, p=P, labels=P, copies=COPIES, threshold=0.6, batch=1):
    part = of_predictions(source, IDS, p, labels, copies, threshold)
    return audit(source, LABELLED, IDS, copies, [part], batch)


def totals(found):
    return {name: found[name] for name in ("pool", "kept", "known", "right")}


def test_an_audit_counts_what_is_kept_known_and_right():
    """Images 3, 4 and 5 are kept and known, the last is wrong; 6 is not kept; of 7 nobody knows."""
    found = counted(batch=4)
    assert totals(found) == {"pool": 5, "kept": 4, "known": 3, "right": 2}
    assert (found["pool_known"], found["pool_right"]) == (4, 2)
    cat, dog, owl = found["classes"]
    assert cat == {
        "name": "cat",
        "pool": 3,
        "pool_known": 3,
        "pool_right": 1,
        "kept": 2,
        "right": 1,
        "wrong": 1,
        "unknown": 0,
        "labelled": 1,
        "true": 1,
        "copies": 3,
    }
    assert (dog["pool"], dog["kept"], dog["right"], dog["unknown"], dog["copies"], dog["true"]) == (2, 2, 1, 1, 4, 2)
    assert (owl["pool"], owl["kept"], owl["labelled"], owl["true"]) == (0, 0, 0, 1)
    bins = {row["name"]: (row["pool"], row["kept"], row["right"]) for row in found["confidence"] if row["pool"]}
    assert bins == {"0.5–0.6": (1, 0, 0), "0.6–0.7": (1, 1, 1), "0.7–0.8": (1, 1, 0), "0.9–0.95": (2, 2, 1)}
    assert found["without"] == ["owl"]
    assert found["warnings"] == ["classes without pseudo-labels: owl"]
    json.dumps(found)


def test_labels_that_were_dealt_out_are_judged_as_dealt():
    """The pool counts what the teacher said, the kept what is learned."""
    found = counted(labels=P[:, [1, 0, 2]])
    cat, dog, _ = found["classes"]
    assert (cat["pool"], dog["pool"], cat["kept"], dog["kept"]) == (3, 2, 2, 2)
    assert (found["right"], found["pool_right"]) == (1, 2)  # of the dealt labels the third


def test_fewer_than_a_batch_are_said():
    warnings = counted(batch=5)["warnings"]
    assert warnings[0] == "4 images are less than one batch of 5; lower pseudo_labels.threshold"


def test_of_several_labels_each_counts_that_is_certain():
    """Of 4 images kept 8 labels are certain, 3 of them of an image that nobody labelled; one of the others is wrong."""
    p = np.array([[0.9, 0.8, 0.2], [0.1, 0.3, 0.2], [0.05, 0.1, 0.9], [0.1, 0.1, 0.95], [0.6, 0.4, 0.5]], np.float32)
    found = counted(SEVERAL, p, p, np.array([1, 1, 1, 1, 0]), 0.9)
    # 3: cat, right. 4: no cat, right. 5: no cat, wrong; no dog, owl, right. 6: three of which nobody knows
    assert totals(found) == {"pool": 5, "kept": 4, "known": 5, "right": 4}
    assert found["pool_known"] == 12
    cat, dog, owl = found["classes"]
    assert (cat["pool"], cat["kept"], cat["right"], cat["labelled"], cat["true"]) == (2, 1, 1, 1, 3)
    assert (dog["pool"], dog["kept"], dog["pool_right"]) == (1, 0, 0)
    assert (owl["pool"], owl["kept"], owl["right"], owl["unknown"], owl["copies"]) == (3, 2, 1, 1, 2)
    assert found["without"] == [CLASSES[1]]
    assert sum(row["pool"] for row in found["confidence"]) == 15


def test_of_one_class_two_columns_and_any_parts_count_the_same():
    for labels in (P, P[:, [1, 0, 2]], P[[4, 1, 2, 3, 0]]):
        columns = IDS, P.max(1), P.argmax(1), labels.argmax(1), COPIES
        parts = [of_classes(SOURCE, *(column[rows] for column in columns)) for rows in (slice(2), slice(2, 5))]
        assert audit(SOURCE, LABELLED, IDS, COPIES, parts, 4) == counted(labels=labels, batch=4)
