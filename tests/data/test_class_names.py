"""What is no label, the order of classes, and labels of any dtype."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from efficient_jax.data import class_names
from efficient_jax.errors import UserError
from tests.commands.launch import begin

ORDERS = """
import io, sys
from pathlib import Path
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
from PIL import Image
from efficient_jax.data.sources import SOURCES
root = Path(sys.argv[1])
names = ["1", "01", "001", "10", "2", "02", "-3", "1.0"]
Image.new("L", (2, 2)).save(content := io.BytesIO(), "PNG")
for name in names:
    (root / f"{name}.png").write_bytes(content.getvalue())
(root / "a.csv").write_text("file,label\\n" + "".join(f"{name}.png,{name}\\n" for name in names))
pq.write_table(pa.table({"image": [content.getvalue()] * 8, "label": names}), root / "a.parquet")
np.savez(root / "a.npz", images=np.zeros((8, 2, 2), np.uint8), labels=np.array(names))
for kind, settings in (("table", {"size": 2}), ("parquet", {}), ("npz", {})):
    path = root / f"a.{'csv' if kind == 'table' else kind}"
    print(*SOURCES[kind](path=str(path), **settings).classes)
"""


def test_the_order_of_classes_does_not_depend_on_the_hash_seed(tmp_path):
    """Names that are equal as numbers: -3, then those of 1 and 2 as text, then 10; in each source that orders names."""
    processes = []
    for seed in ("0", "1"):
        (folder := tmp_path / seed).mkdir()
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2])}
        processes.append(begin(sys.executable, "-c", ORDERS, str(folder), env=environment))
    found = [process.communicate(timeout=120)[0].splitlines() for process in processes]
    assert found == [["-3 001 01 1 1.0 02 2 10"] * 3] * 2


@pytest.mark.parametrize(
    "name", ["", " ", "-1", "-1.0", "nan", "NaN", "NA", "N/A", "<NA>", "None", "NULL", "Unlabelled"]
)
def test_names_that_are_no_label(name):
    assert class_names.is_no_label(name)
    assert not class_names.is_no_label(f"x{name}")


def of(values, classes=()):
    return class_names.of_array(np.asarray(values), classes, "key", "labels of 'a'")


@pytest.mark.parametrize(
    ("values", "classes", "numbers", "names"),
    [
        (np.array([2, 0, -1], np.int8), (), [2, 0, -1], ("0", "1", "2")),
        (np.array([2, 0], np.uint8), ("a", "b", "c"), [2, 0], ("a", "b", "c")),
        ([1.0, np.nan, 0.0], (), [1, -1, 0], ("0", "1")),
        ([True, False], (), [1, 0], ("False", "True")),
        ([True, False], ("no", "yes"), [1, 0], ("no", "yes")),
        (["dog", "cat", "NA", " dog "], (), [1, 0, -1, 1], ("cat", "dog")),
        ([b"dog", b"cat"], ("dog", "cat"), [0, 1], ("dog", "cat")),
        (["cafe\u0301", "caf\u00e9", "tea"], ("tea", "caf\u00e9"), [1, 1, 0], ("tea", "caf\u00e9")),
        (["none", "crack", "nan"], ("none", "crack"), [0, 1, -1], ("none", "crack")),  # a list of classes has it
        ([1, 2, 2], ("a", "b", "c"), [1, 2, 2], ("a", "b", "c")),  # the first class has no image: not counted from 1
        ([], (), [], ()),
    ],
)
def test_labels_of_any_dtype(values, classes, numbers, names):
    found, known, _ = of(values, classes)
    np.testing.assert_array_equal(found, numbers)
    assert (found.dtype, known) == (np.int32, names)


def test_what_says_that_there_is_no_label_is_noted():
    assert of(["a", "nan", "", "nan"])[2] == ("3 of 4 images without a label: '' (1), 'nan' (2)",)
    assert of([0.0, np.nan])[2] == ("1 of 2 images without a label: 'nan' (1)",)
    assert of(["a", ""])[2] == of([0, -1])[2] == ()


@pytest.mark.parametrize(
    ("values", "classes", "message"),
    [
        (
            [1, 2, 3],
            ("a", "b", "c"),
            "go from 1 to 3, as if counted from 1; labels count from 0 (-1 is none): subtract 1",
        ),
        ([1, -1, 2], (), "go from 1 to 2, as if counted from 1"),
        ([0, 3], ("a", "b", "c"), "go from 0 to 3, but there are 3 classes; labels count from 0, and -1 is none"),
        ([-2, 0], (), "go from -2 to 0, but there are 1 classes"),
        ([0, 2**40], ("a", "b"), "go from 0 to 1099511627776, but there are 2 classes"),
        ([0.5, 1.0], (), "are float64, such as 0.5; want whole numbers or names"),
        ([0.0, np.inf], ("a",), "are float64, such as inf; want whole numbers or names"),
        ([1j], (), "are complex128; want integers or names"),
        (["cats"], ("cat", "dog"), "have the class 'cats' in row 0; did you mean 'cat'?"),
        ([b"\xff"], (), "are bytes that are not UTF-8"),
    ],
)
def test_labels_that_are_none_are_said(values, classes, message):
    with pytest.raises(UserError) as error:
        of(values, classes)
    assert str(error.value).startswith(f"key: labels of 'a' {message}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("classes", [("a", "b", "a"), ("caf\u00e9", "cafe\u0301")])
def test_class_names_are_there_once(classes):
    with pytest.raises(UserError, match=r"^key: 1 class names are there twice, such as '\w+'; want each once$"):
        of([0, 1], classes)


def test_classes_that_look_alike_are_noted():
    assert class_names.alike(("1", "01", "Cat", "cat", "dog")) == (
        "classes that differ, but look alike: '1' and '01', 'Cat' and 'cat'",
    )
    assert class_names.alike(("1", "10", "cat", "cats")) == ()
