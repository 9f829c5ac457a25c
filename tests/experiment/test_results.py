"""What a stage leaves for the report."""

import jax
import numpy as np
import pytest

from efficient_jax.data.dataset import Source
from efficient_jax.experiment import results
from efficient_jax.training.labels import Labels

N, CLASSES = 40, 3
RNG = np.random.default_rng(0)
SOURCE = Source(
    RNG.integers(0, 256, (60, 4, 4, 1), np.uint8), RNG.integers(0, CLASSES, 60).astype(np.int32), ("a", "b", "c")
)
IDS = np.arange(10, 10 + N, dtype=np.int32)


def read(path):
    with np.load(path) as arrays:
        return dict(arrays)


def test_the_figures_are_those_of_the_predictions(tmp_path):
    probabilities = np.tile(np.array([0.8, 0.1, 0.1], np.float32), (N, 1))
    zeros = (SOURCE.labels[IDS] == 0).sum()
    figures = results.evaluate_stage(tmp_path, SOURCE, IDS, probabilities)
    assert figures["test"] == {"correct": zeros, "n": N}
    expected = -(zeros * np.log(0.8) + (N - zeros) * np.log(0.1)) / N
    assert figures["negative_log_likelihood"] == pytest.approx(expected, rel=1e-6)
    assert figures["calibration_error"] == pytest.approx(abs(zeros / N - 0.8), rel=1e-5)
    stored = read(tmp_path / "predictions.npz")
    np.testing.assert_array_equal(stored["id"], IDS)
    np.testing.assert_array_equal(stored["label"], SOURCE.labels[IDS])
    np.testing.assert_array_equal(stored["probabilities"], probabilities)


def test_mistakes_are_wrong_and_the_surest_come_first(tmp_path):
    p = RNG.dirichlet(np.ones(CLASSES), N).astype(np.float32)
    figures = results.evaluate_stage(tmp_path, SOURCE, IDS, p)
    mistakes = read(tmp_path / "mistakes.npz")
    wrong = p.argmax(1) != SOURCE.labels[IDS]
    assert len(mistakes["id"]) == wrong.sum() == N - figures["test"]["correct"]
    np.testing.assert_array_equal(mistakes["confidence"], np.sort(p.max(1)[wrong])[::-1])
    assert (mistakes["label"] != mistakes["predicted"]).all()
    np.testing.assert_array_equal(mistakes["images"], SOURCE.images[mistakes["id"]])
    np.testing.assert_array_equal(mistakes["label"], SOURCE.labels[mistakes["id"]])


def test_no_mistakes(tmp_path):
    results.evaluate_stage(tmp_path, SOURCE, IDS, np.eye(CLASSES, dtype=np.float32)[SOURCE.labels[IDS]])
    assert read(tmp_path / "mistakes.npz")["images"].shape == (0, 4, 4, 1)


def test_a_mistake_has_the_name_of_its_file(tmp_path):
    named = SOURCE._replace(names=tuple(f"some/folder/{i}.png" for i in range(60)))
    results.evaluate_stage(tmp_path, named, IDS, np.eye(CLASSES, dtype=np.float32)[(SOURCE.labels[IDS] + 1) % CLASSES])
    mistakes = read(tmp_path / "mistakes.npz")
    assert mistakes["file_names"].tolist() == [f"{i}.png" for i in mistakes["id"]]


def test_of_several_labels_the_mistakes_with_the_largest_loss_come_first(tmp_path):
    tags = RNG.integers(0, 2, (60, CLASSES)).astype(np.int32)
    p = RNG.random((N, CLASSES)).astype(np.float32)
    figures = results.evaluate_stage(
        tmp_path, SOURCE._replace(labels=tags, task="multi_label"), IDS, p, [0.5, 0.3, 0.9]
    )
    said = p >= [0.5, 0.3, 0.9]
    wrong = (said != tags[IDS]).any(1)
    assert figures["test"]["correct"] == N - wrong.sum()
    assert figures["thresholds"] == [0.5, 0.3, 0.9]
    loss = -np.log(np.where(tags[IDS], p, 1 - p)).mean(1)
    assert figures["negative_log_likelihood"] == pytest.approx(loss.mean(), rel=1e-5)
    assert "calibration_error" not in figures
    mistakes = read(tmp_path / "mistakes.npz")
    np.testing.assert_allclose(mistakes["loss"], np.sort(loss[wrong])[::-1][: results.MISTAKES], rtol=1e-5)
    np.testing.assert_array_equal(mistakes["label"], tags[mistakes["id"]])
    np.testing.assert_array_equal(mistakes["predicted"], said[mistakes["id"] - IDS[0]])
    shown = [", ".join(np.array(["a", "b", "c"])[row == 1]) or "nothing" for row in mistakes["label"]]
    assert mistakes["true_names"].tolist() == shown


def sampled(folder, augment, rows, key):
    labels = Labels(SOURCE.labels[:, None], None)
    results.samples(folder, augment, {"image": SOURCE.images}, labels, CLASSES, rows, key, SOURCE.name)


def test_samples_are_images_of_each_stream_and_their_versions(tmp_path, key):
    def to_float(keys, batch):
        del keys
        return batch | {"image": batch["image"].astype("float32") / 255.0}

    rows = {"labelled": np.arange(20), "unlabelled": np.arange(30, 33)}
    sampled(tmp_path, dict.fromkeys(rows, to_float), rows, key)
    arrays = read(tmp_path / "samples.npz")
    for prefix, ids in (("", rows["labelled"]), ("unlabelled_", rows["unlabelled"])):
        raw, augmented = arrays[f"{prefix}raw"], arrays[f"{prefix}augmented"]
        assert {image.tobytes() for image in raw} <= {SOURCE.images[i].tobytes() for i in ids}
        assert augmented.dtype == np.uint8
        np.testing.assert_array_equal(augmented, np.repeat(raw[:, None], 4, axis=1))
        by_name = [SOURCE.images[int(name.removeprefix("image "))] for name in arrays[f"{prefix}names"]]
        np.testing.assert_array_equal(raw, by_name)


def test_versions_of_an_image_differ_and_mix_with_other_images(tmp_path, key):
    def draw(keys, batch):
        numbers = jax.vmap(lambda key: jax.random.randint(key, (4, 4, 1), 0, 256, np.uint8))(keys)
        return batch | {"image": numbers}

    def partner(keys, batch):
        del keys
        return batch | {"image": batch["image"][np.arange(32) ^ 1]}

    sampled(tmp_path, {"labelled": draw}, {"labelled": np.arange(20)}, key)
    assert len(np.unique(read(tmp_path / "samples.npz")["augmented"].reshape(32, -1), axis=0)) == 32
    sampled(tmp_path, {"labelled": partner}, {"labelled": np.arange(20)}, key)
    arrays = read(tmp_path / "samples.npz")
    np.testing.assert_array_equal(arrays["augmented"][:, 0], arrays["raw"][np.arange(8) ^ 1])
