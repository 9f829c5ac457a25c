"""A config that is a plan, to change one thing at a time."""

import copy


def stage(**changes):
    return {
        "model": {"name": "cnn", "width": 4},
        "method": {"name": "supervised"},
        "batch": {"labelled": 8},
        "augment": {"ops": ()},
        "optim": {
            "learning_rate": 1e-3,
            "warmup": 2,
            "weight_decay": 0.01,
            "clip": 1.0,
            "rules": ((".*", 1.0),),
        },
        "steps": 10,
    } | changes


STUDENT = {"method": {"name": "noisy_student"}, "batch": {"labelled": 8, "unlabelled": 16}, "teacher": "first"}
DISTILL = {"method": {"name": "distill", "hard_weight": 0.0}, "batch": {"labelled": 8, "unlabelled": 16}}
PROBE = {"model": {"name": "cnn"}, "method": {"name": "linear_probe"}, "init": "first"}
WEAK_AND_STRONG = STUDENT | {"method": {"name": "fixmatch"}, "teacher": "", "strong_augment": {"ops": ("rotate",)}}


CONFIG = {
    "seed": 0,
    "data": {"source": {"name": "mnist5k"}, "labels_per_class": 10, "test": 1000},
    "stages": ("first", "student"),
    "first": stage(),
    "student": stage(**STUDENT),
}


def changed(path, value):
    """CONFIG with another value at a dotted path."""
    config = copy.deepcopy(CONFIG)
    *blocks, last = path.split(".")
    block = config
    for name in blocks:
        block = block[name]
    block[last] = value
    return config
