"""An .npz gives uint8 images and int labels; one that does not hold them is said in one line."""

import numpy as np
import pytest

from efficient_jax.data.dataset import fingerprint
from efficient_jax.data.sources.npz_files import npz
from efficient_jax.errors import UserError
from efficient_jax.tasks import targets

IMAGES = np.arange(4 * 3 * 2, dtype=np.uint8).reshape(4, 3, 2)
LABELS = np.array([0, 1, -1, 1], np.int64)


def write(folder, **arrays):
    np.savez(folder / "a.npz", **arrays)
    return str(folder / "a.npz")


def test_an_npz_becomes_a_source(tmp_path):
    source = npz(path=write(tmp_path, images=IMAGES, labels=LABELS))
    np.testing.assert_array_equal(source.images, IMAGES[..., None])
    np.testing.assert_array_equal(source.labels, LABELS)
    assert source.labels.dtype == np.int32
    assert source.classes == ("0", "1")
    named = npz(path=write(tmp_path, images=IMAGES, labels=LABELS, classes=np.array(["cat", "dog", "owl"])))
    assert named.classes == ("cat", "dog", "owl")
    assert npz(path=write(tmp_path, images=IMAGES, labels=LABELS, test=[3, 0])).fixed["test"].tolist() == [0, 3]


def test_labels_of_an_npz_may_be_names(tmp_path):
    names = np.array(["dog", "", "cat", "nan"])
    source = npz(path=write(tmp_path, images=IMAGES, labels=names))
    np.testing.assert_array_equal(source.labels, [1, -1, 0, -1])
    assert source.classes == ("cat", "dog")
    assert source.notes == ("2 of 4 images without a label: '' (1), 'nan' (1)",)
    source = npz(path=write(tmp_path, images=IMAGES, labels=names, classes=np.array(["dog", "owl", "cat"])))
    np.testing.assert_array_equal(source.labels, [0, -1, 2, -1])
    floats = np.array([1.0, np.nan, 0.0, 2.0])
    np.testing.assert_array_equal(npz(path=write(tmp_path, images=IMAGES, labels=floats)).labels, [1, -1, 0, 2])


TAGS = np.array([[1, 1], [0, 0], [-1, -1], [0, 1]])


@pytest.mark.parametrize("tags", [TAGS, TAGS.astype(np.int8), TAGS == 1])
def test_an_npz_may_have_several_labels_for_each_image(tmp_path, tags):
    source = npz(path=write(tmp_path, images=IMAGES, labels=tags, classes=np.array(["cat", "dog"])))
    assert source.task == "multi_label"
    np.testing.assert_array_equal(source.labels, tags.astype(int))
    assert (source.labels.dtype, source.classes) == (np.int32, ("cat", "dog"))
    assert npz(path=write(tmp_path, images=IMAGES, labels=tags)).classes == ("0", "1")


SOFT = np.array([[0.9, 0.1], [0.25, 0.75], [-1.0, -1.0], [0.4, 0.6]], np.float32)


def test_soft_labels_are_learned_and_their_most_probable_class_is_the_label(tmp_path):
    source = npz(path=write(tmp_path, images=IMAGES, soft_labels=SOFT))
    np.testing.assert_array_equal(source.labels, [0, 1, -1, 1])
    np.testing.assert_array_equal(targets(source, np.array([3, 0])), SOFT[[3, 0]])
    assert source.classes == ("0", "1")
    other = np.where(SOFT < 0, SOFT, SOFT[:, ::-1])
    assert fingerprint(source) != fingerprint(source._replace(soft_labels=other))


def test_labels_beside_soft_labels_are_the_labels(tmp_path):
    """Those by which images are split and judged; what is learned of unlabelled images is not read."""
    path = write(
        tmp_path, images=IMAGES, labels=np.array([1, 1, 0, -1]), soft_labels=np.abs(SOFT) / [[1], [1], [2], [9]]
    )
    source = npz(path=path)
    np.testing.assert_array_equal(source.labels, [1, 1, 0, -1])
    np.testing.assert_allclose(targets(source, np.array([0, 2])), [[0.9, 0.1], [0.5, 0.5]])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"soft_labels": SOFT * [[1], [1.2], [1], [1]]}, "1 image is not, first image 1: [0.3, 0.9]"),
        ({"soft_labels": SOFT * [[1], [1], [1], [np.nan]]}, "1 image is not, first image 3: [nan, nan]"),
        ({"soft_labels": np.array([[1.5, -0.5]] * 4)}, "4 images are not, first image 0: [1.5, -0.5]"),
        ({"soft_labels": SOFT, "labels": np.zeros(4, int)}, "1 image is not, first image 2: [-1.0, -1.0]"),
        ({"soft_labels": np.eye(4, 2, dtype=int)}, "soft_labels of '{path}' are int64 [4, 2]; want floats [n classes]"),
        ({"soft_labels": SOFT[0]}, "soft_labels of '{path}' are float32 [2]; want floats [n classes]"),
        ({"soft_labels": SOFT[:3]}, "soft_labels of '{path}' are [3, 2]; want a row for each of the 4 images"),
        ({"soft_labels": SOFT, "labels": TAGS}, "'{path}' has soft_labels, which are for one class an image"),
        ({"soft_labels": SOFT, "classes": np.array(["cat"])}, "are [4, 2], but there are 1 classes; want a column"),
    ],
)
def test_soft_labels_that_are_none_are_said(tmp_path, arrays, message):
    path = write(tmp_path, images=IMAGES, **arrays)
    with pytest.raises(UserError) as error:
        npz(path=path)
    text = str(error.value)
    assert text.startswith("config.data.source.path: ")
    assert message.replace("{path}", path) in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"images": IMAGES, "labels": TAGS[:3]},
            "are int64 [3, 2]; want one integer or name for each of the 4 images, or",
        ),
        ({"images": IMAGES, "labels": TAGS / 2}, "are float64 [4, 2]; want one integer"),
        ({"images": IMAGES, "labels": TAGS[:, :1]}, "are [4, 1]; want two or more columns, or [n]"),
        ({"images": IMAGES, "labels": 2 * TAGS}, "are [2, 2] for image 0; want 0 and 1, or -1 in the whole row"),
        ({"images": IMAGES, "labels": TAGS * [1, -1]}, "are [1, -1] for image 0; want 0 and 1"),
        ({"images": IMAGES, "labels": TAGS, "classes": np.array(["cat"])}, "are [4, 2], but there are 1 classes; want"),
        ({"images": IMAGES}, "has no array 'labels'; it has ['images']"),
        (
            {"images": IMAGES / 255.0, "labels": LABELS},
            "are float64 [4, 3, 2, 1] from 0 to 0.0902; want uint8 [n h w c], 0 to 255",
        ),
        ({"images": IMAGES[0], "labels": LABELS}, "are uint8 [3, 2]; want uint8 [n h w c]"),
        ({"images": IMAGES, "labels": LABELS[:3]}, "are int64 [3]; want one integer or name for each of the 4 images"),
        ({"images": IMAGES, "labels": LABELS / 2}, "are float64, such as 0.5; want whole numbers or names"),
        ({"images": IMAGES, "labels": LABELS, "classes": np.array(["a", "b", "a"])}, "1 class names are there twice"),
        ({"images": IMAGES, "labels": TAGS, "classes": np.array(["a", "a"])}, "1 class names are there twice"),
        ({"images": IMAGES, "labels": np.array([1, 2, 3, 1])}, "go from 1 to 3, as if counted from 1"),
        (
            {"images": IMAGES[:, None].repeat(3, 1).repeat(8, 3), "labels": LABELS},
            "are uint8 [4, 3, 3, 16]; want uint8 [n h w c], 0 to 255, and their channels seem to be first: say images.",
        ),
        (
            {"images": IMAGES[:, None].repeat(3, 1).repeat(8, 3) / 255.0, "labels": LABELS},
            "; want uint8 [n h w c], 0 to 255, and their channels seem to be first: say images.transpose(0, 2, 3, 1)",
        ),
        ({"images": IMAGES, "labels": LABELS - 1}, "labels count from 0, and -1 is none"),
        (
            {"images": IMAGES, "labels": LABELS, "classes": np.array(["cat"])},
            "go from -1 to 1, but there are 1 classes",
        ),
        ({"images": IMAGES, "labels": LABELS, "test": np.array([4])}, "test of"),
        ({"images": IMAGES, "labels": np.array([0, None])}, "is not an .npz of plain arrays"),
    ],
)
def test_an_npz_with_something_else_is_said(tmp_path, arrays, message):
    with pytest.raises(UserError) as error:
        npz(path=write(tmp_path, **arrays))
    text = str(error.value)
    assert text.startswith("config.data.source.path: ")
    assert message in text
    assert "\n" not in text


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 half an archive"])
def test_a_file_that_is_no_npz_is_said(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"is not an \.npz of plain arrays"):
        npz(path=str(tmp_path / "a.npz"))


def test_one_array_is_no_npz(tmp_path):
    np.save(tmp_path / "a.npy", IMAGES)
    with pytest.raises(UserError, match=r"is not an \.npz of plain arrays"):
        npz(path=str(tmp_path / "a.npy"))


def test_no_file_is_said(tmp_path):
    with pytest.raises(UserError, match="no file"):
        npz(path=str(tmp_path / "a.npz"))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([0.0, 0.5, 1.0], "float64 [3, 2, 2, 1] from 0 to 1; want uint8 [n h w c], 0 to 255"),
        ([0.0, np.nan, np.inf], "float64 [3, 2, 2, 1] from 0 to 0, 2 of them with NaN or infinite pixels; want uint8"),
        ([np.nan] * 3, "float64 [3, 2, 2, 1], 3 of them with NaN or infinite pixels; want uint8"),
    ],
)
def test_images_of_floats_are_refused_with_what_is_in_them(tmp_path, values, said):
    images = np.array(values)[:, None, None, None].repeat(2, 1).repeat(2, 2)
    with pytest.raises(UserError) as error:
        npz(path=write(tmp_path, images=images, labels=np.array([0, 1, 1])))
    assert f": images of '{tmp_path}/a.npz' are {said}" in str(error.value)
