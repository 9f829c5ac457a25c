"""Small pools whose pseudo-labels are stored in shards."""

import numpy as np
import pyarrow.parquet as pq

from efficient_jax.data.dataset import Source
from efficient_jax.experiment.pseudo_labels import shards
from efficient_jax.experiment.pseudo_labels.pool import Pool

SETTINGS = {"threshold": 0.3, "balance": True, "per_class": 0, "soft": True, "shuffled": False}
SHARD = 64
IMAGES = 300  # in five shards


def pool_of(folder, classes=12, soft_classes=0, images=IMAGES, teacher=0):
    """(the pool, the predictions of all its images); half of the true labels are known."""
    rng = np.random.default_rng([classes, teacher])
    p = rng.dirichlet(np.full(classes, 0.05), images + 10).astype(np.float32)
    p[::3] = np.round(p[::3], 1)  # many are equal
    labels = np.where(rng.random(len(p)) < 0.5, rng.integers(0, classes, len(p)), -1)
    labels[:10] = rng.integers(0, classes, 10)
    source = Source(np.zeros((len(p), 1, 1, 1), np.uint8), labels, tuple(f"class {i}" for i in range(classes)))
    folder.mkdir(exist_ok=True, parents=True)
    return Pool(folder, source, np.arange(10), np.arange(10, len(p)), 8, soft_classes, "config.s", (500,)), p


def origin_of(**settings):
    return {
        "teacher": "first",
        "teacher_hash": "abc",
        "class_map": None,
        "vote": "soft",
        "seed": 3,
        "settings": SETTINGS | settings,
    }


class Teacher:
    """Predicts images by their indices, and remembers which."""

    def __init__(self, probabilities, before=id):
        self.probabilities, self.before, self.asked = probabilities, before, []

    def __call__(self, ids):
        self.before(len(self.asked))
        self.asked += [ids.tolist()]
        return self.probabilities[ids]


def made_of(pool, p, origin=None, **teaching):
    """(the pseudo-labels, what is said, the images that are predicted)."""
    said, teacher = [], Teacher(p, **teaching)
    return shards.pseudo_labels(pool, teacher, origin or origin_of(), said.append), said, teacher.asked


def part(number):
    return list(range(10 + SHARD * number, min(10 + SHARD * (number + 1), 10 + IMAGES)))


def path(folder, number, count=5):
    return folder / f"pseudo_labels/part-{number:05}-of-{count:05}.parquet"


def rows_of(folder):
    return pq.read_table(folder / "pseudo_labels").to_pylist()
