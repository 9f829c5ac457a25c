"""Parquet files as Hugging Face stores them, and plainer ones."""

import io
import json
import os
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from efficient_jax.data.sources.parquet_files import parquet
from efficient_jax.errors import UserError

DATA = Path(os.environ.get("EFFICIENT_JAX_DATA", "none"))
NAMES = {"huggingface": json.dumps({"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}})}


def png(value, shape=(2, 3, 3)):
    Image.fromarray(np.full(shape, value, np.uint8)).save(content := io.BytesIO(), "PNG")
    return content.getvalue()


def write(path, columns, metadata=None):
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path)
    return str(path)


def hugging(values):
    return pa.array([{"bytes": png(value), "path": f"{value}.png"} for value in values])


def test_as_hugging_face_stores_them(tmp_path):
    path = write(tmp_path / "a.parquet", {"id": [1, 2, 3], "image": hugging([5, 6, 7]), "label": [1, 0, None]}, NAMES)
    source = parquet(path=path)
    np.testing.assert_array_equal(source.images, np.array([5, 6, 7])[:, None, None, None] + np.zeros((2, 3, 3), int))
    np.testing.assert_array_equal(source.labels, [1, 0, -1])
    assert (source.images.dtype, source.labels.dtype) == (np.uint8, np.int32)
    assert source.classes == ("cat", "dog")
    assert source.fixed == {}
    assert parquet(path=path, size=8, channels=1).images.shape == (3, 8, 8, 1)


def test_bare_bytes_and_no_names(tmp_path):
    path = write(tmp_path / "a.parquet", {"img": [png(5), png(6)], "fine": pa.array([0, 200], pa.uint8())})
    source = parquet(path=path, label="fine")
    np.testing.assert_array_equal(source.images[:, 0, 0, 0], [5, 6])
    np.testing.assert_array_equal(source.labels, [0, 200])
    assert source.classes == tuple(str(number) for number in range(201))


@pytest.mark.parametrize(
    ("labels", "metadata", "classes", "numbers"),
    [
        (["dog", "cat", None, "nan"], None, ("cat", "dog"), [1, 0, -1, -1]),
        (["10", "9", "09", "9"], None, ("09", "9", "10"), [2, 1, 0, 1]),
        (["dog", "cat", "dog", None], NAMES, ("cat", "dog"), [1, 0, 1, -1]),
        (pa.array(["dog", "cat", None, "dog"]).dictionary_encode(), None, ("cat", "dog"), [1, 0, -1, 1]),
        (pa.array(["dog", "cat", None, "dog"], pa.large_string()), None, ("cat", "dog"), [1, 0, -1, 1]),
        (pa.array([1, 0, None, 1]).dictionary_encode(), None, ("0", "1"), [1, 0, -1, 1]),
        ([True, False, None, True], None, ("False", "True"), [1, 0, -1, 1]),
        ([True, False, None, True], NAMES, ("cat", "dog"), [1, 0, -1, 1]),
        ([1.0, 0.0, None, float("nan")], NAMES, ("cat", "dog"), [1, 0, -1, -1]),
        (pa.array([1, 0, 2, 1], pa.uint8()), None, ("0", "1", "2"), [1, 0, 2, 1]),
    ],
)
def test_labels_of_other_types(tmp_path, labels, metadata, classes, numbers):
    path = write(tmp_path / "a.parquet", {"image": hugging([1, 2, 3, 4]), "label": labels}, metadata)
    more = write(tmp_path / "b.parquet", {"image": hugging([5])})
    test = write(tmp_path / "c.parquet", {"image": hugging([6]), "label": labels[:1]}, metadata)
    source = parquet(path=path, unlabelled_path=more, test_path=test)
    assert source.classes == classes
    np.testing.assert_array_equal(source.labels, [*numbers, -1, numbers[0]])


def test_test_labels_that_no_training_image_has_are_said(tmp_path):
    path = write(tmp_path / "a.parquet", {"image": hugging([1, 2]), "label": ["cat", "dog"]})
    for labels, message in (
        (["cats"], r"test_path: labels of '.*b\.parquet' have the class 'cats' in row 0; did you mean 'cat'\?"),
        (
            [1],
            r"test_path: labels of '.*b\.parquet' are numbers, those of '.*a\.parquet' names",
        ),
    ):
        test = write(tmp_path / "b.parquet", {"image": hugging([3]), "label": labels})
        with pytest.raises(UserError, match=rf"^config\.data\.source\.{message}$"):
            parquet(path=path, test_path=test)


def test_files_in_order_and_a_test_file(tmp_path):
    for number in (1, 0):
        columns = {"image": hugging([10 * number, 10 * number + 1]), "label": [number, number]}
        write(tmp_path / f"train-{number}.parquet", columns, NAMES)
    test = write(tmp_path / "test.parquet", {"image": hugging([50, 10]), "label": [0, 1]}, NAMES)
    source = parquet(path=str(tmp_path / "train-*.parquet"), test_path=test)
    np.testing.assert_array_equal(source.images[:, 0, 0, 0], [0, 1, 10, 11, 50, 10])
    np.testing.assert_array_equal(source.labels, [0, 0, 1, 1, 0, 1])
    np.testing.assert_array_equal(source.fixed["test"], [4, 5])


def test_files_without_labels_join_the_pool(tmp_path):
    path = write(tmp_path / "a.parquet", {"image": hugging([1, 2]), "label": [0, 1]}, NAMES)
    test = write(tmp_path / "b.parquet", {"image": hugging([3]), "label": [1]}, NAMES)
    more = write(tmp_path / "c.parquet", {"image": hugging([4, 5]), "label": ["read", "by nobody"]})
    source = parquet(path=path, test_path=test, unlabelled_path=more)
    np.testing.assert_array_equal(source.images[:, 0, 0, 0], [1, 2, 4, 5, 3])
    np.testing.assert_array_equal(source.labels, [0, 1, -1, -1, 1])
    np.testing.assert_array_equal(source.fixed["test"], [4])
    none = write(tmp_path / "d.parquet", {"image": pa.array([], pa.binary())})
    with pytest.raises(UserError, match=r"^config\.data\.source\.unlabelled_path: no images in "):
        parquet(path=path, unlabelled_path=none)


@pytest.mark.parametrize(
    ("columns", "settings", "message"),
    [
        ({"x": [1], "y": [2]}, {}, "image: '{path}' has no column image or img; it has x, y"),
        ({"image": [png(0)], "y": [2]}, {}, "label: '{path}' has no column label; it has image, y"),
        ({"image": [png(0)], "label": [0]}, {"label": "y"}, "label: '{path}' has no column y; it has image, label"),
        ({"image": ["a.png"], "label": [0]}, {}, "path: column 'image' of '{path}' holds string; want encoded images"),
        (
            {"image": [png(0)], "label": ["cats"]},
            {},
            "path: labels of '{path}' have the class 'cats' in row 0; did you",
        ),
        (
            {"image": [png(0)], "label": [[1]]},
            {},
            "path: column 'label' of '{path}' holds list<element: int64>; want i",
        ),
        ({"image": [png(0)], "label": [0.5]}, {}, "path: labels of '{path}' are float64, such as 0.5; want whole numb"),
        ({"image": [png(0)] * 2, "label": [1, 2]}, {}, "path: labels of '{path}' go from 1 to 2, as if counted from 1"),
        ({"image": [png(0)], "label": [3]}, {}, "path: labels of '{path}' go from 3 to 3, but there are 2 classes"),
        ({"image": [png(0)], "label": [-2]}, {}, "path: labels of '{path}' go from -2 to -2, but there are 2 classes"),
        (
            {"image": [png(0), b"no"], "label": [0, 1]},
            {},
            "path: '{path}': 1 unreadable image: row 1 (not an image)",
        ),
        (
            {"image": pa.array([{"bytes": None, "path": "a.png"}, {"bytes": png(0), "path": ""}]), "label": [0, 1]},
            {"size": 4},
            "path: '{path}': 1 unreadable image: row 0 (no bytes, perhaps only a path)",
        ),
        (
            {"image": [png(0), png(0, (4, 4, 3))], "label": [0, 1]},
            {},
            "path: '{path}': 1 unreadable image: row 1 (4 x 4 pixels, but the first has 3 x 2: say config.data.",
        ),
    ],
)
def test_a_file_of_something_else_is_said(tmp_path, columns, settings, message):
    path = write(tmp_path / "a.parquet", columns, NAMES)
    with pytest.raises(UserError) as error:
        parquet(path=path, **settings)
    assert str(error.value).startswith("config.data.source." + message.format(path=path))
    assert "\n" not in str(error.value)


def test_so_many_unreadable_images_are_left_out(tmp_path):
    columns = {"image": [png(1), b"no", png(3), b"", png(5)], "label": [0, 1, 1, 0, 0]}
    path = write(tmp_path / "a.parquet", columns)
    source = parquet(path=path, unreadable=2)
    np.testing.assert_array_equal(source.images[:, 0, 0, 0], [1, 3, 5])
    np.testing.assert_array_equal(source.labels, [0, 1, 0])
    assert source.notes == (
        "left out 2 unreadable images: row 1 (not an image), row 3 (no bytes, perhaps only a path)",
    )
    with pytest.raises(UserError, match=r"parquet': 2 unreadable images: row 1 .* config\.data\.source\.unreadable$"):
        parquet(path=path, unreadable=1)


def test_test_images_of_other_classes_are_said(tmp_path):
    path = write(tmp_path / "a.parquet", {"image": hugging([1]), "label": [0]}, NAMES)
    test = write(tmp_path / "b.parquet", {"image": hugging([1]), "label": [0]})
    with pytest.raises(UserError, match=r"source\.test_path: classes of '.*' are without names, those of '.*'cat'"):
        parquet(path=path, test_path=test)


def test_no_file_and_no_parquet_are_said(tmp_path):
    with pytest.raises(UserError, match=r"source\.path: no file 'nowhere\*'; several are named with a \*"):
        parquet(path="nowhere*")
    (tmp_path / "a.parquet").write_text("text")
    with pytest.raises(UserError, match=r"source\.path: .* is not parquet files of the same columns \("):
        parquet(path=str(tmp_path / "a.parquet"))


def test_files_of_a_store_of_which_only_the_columns_are_read(monkeypatch):
    store = fsspec.filesystem("memory")
    for number in (0, 1):
        columns = {"image": hugging([number, number + 2]), "label": [1, 0], "other": [bytes(10**6)] * 2}
        pq.write_table(pa.table(columns).replace_schema_metadata(NAMES), content := io.BytesIO(), compression="none")
        store.pipe_file(f"/parquet/{number}.parquet", content.getvalue())
    read, bytes_read = type(store.open("/parquet/0.parquet")).read, []

    def counted(self, *size):
        bytes_read.append(len(content := read(self, *size)))
        return content

    monkeypatch.setattr(type(store.open("/parquet/0.parquet")), "read", counted)
    source = parquet(path="memory://parquet/{0..1}.parquet")
    assert source.images[:, 0, 0, 0].tolist() == [0, 2, 1, 3]
    assert source.labels.tolist() == [1, 0, 1, 0]
    assert 0 < sum(bytes_read) < 2 * 10**5
    store.rm("/parquet", recursive=True)


@pytest.mark.skipif(not (DATA / "cifar10").is_dir(), reason="EFFICIENT_JAX_DATA names no folder with cifar10/")
def test_cifar10():
    source = parquet(path=str(DATA / "cifar10/train.parquet"), test_path=str(DATA / "cifar10/test.parquet"))
    assert source.images.shape == (60_000, 32, 32, 3)
    assert " ".join(source.classes) == "airplane automobile bird cat deer dog frog horse ship truck"
    np.testing.assert_array_equal(np.bincount(source.labels[source.fixed["test"]]), [1000] * 10)
    np.testing.assert_array_equal(np.bincount(source.labels), [6000] * 10)


def test_names_of_classes_are_there_once(tmp_path):
    names = {"huggingface": json.dumps({"info": {"features": {"label": {"names": ["cat", "dog", "cat"]}}}})}
    path = write(tmp_path / "a.parquet", {"image": hugging([1]), "label": [0]}, names)
    with pytest.raises(UserError, match=r"a\.parquet': 1 class names are there twice, such as 'cat'"):
        parquet(path=path)
