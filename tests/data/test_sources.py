"""Sources give uint8 images and int labels; a file that does not hold them is said in one line."""

import numpy as np
import pytest

from efficient_jax.data import SOURCES, sources
from efficient_jax.types import UserError

IMAGES = np.arange(4 * 3 * 2, dtype=np.uint8).reshape(4, 3, 2)
LABELS = np.array([0, 1, -1, 1], np.int64)


def write(folder, **arrays):
    np.savez(folder / "a.npz", **arrays)
    return str(folder / "a.npz")


def test_mnist5k_has_500_of_each_digit():
    source = sources.mnist5k()
    assert source.images.shape == (5000, 28, 28, 1)
    assert source.images.dtype == np.uint8
    assert source.images.max() == 255
    np.testing.assert_array_equal(np.bincount(source.labels), [500] * 10)
    ones, zeros = (source.images[source.labels == digit].mean(0)[14, 14, 0] for digit in (1, 0))
    assert ones > 200 > 50 > zeros  # the middle is ink of a 1 and the hole of a 0


def test_digits_are_those_of_scikit_learn():
    """Counts of ink from 0 to 16 become 0 to 255; the first is the 0 of scikit-learn's documentation."""
    source = sources.digits()
    assert source.images.shape == (1797, 8, 8, 1)
    np.testing.assert_array_equal(np.bincount(source.labels), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180])
    np.testing.assert_array_equal(source.images[0, 0, :, 0], np.round(np.array([0, 0, 5, 13, 9, 1, 0, 0]) * 15.9375))
    assert source.images.max() == 255


def test_an_npz_becomes_a_source(tmp_path):
    source = sources.npz(path=write(tmp_path, images=IMAGES, labels=LABELS))
    np.testing.assert_array_equal(source.images, IMAGES[..., None])
    np.testing.assert_array_equal(source.labels, LABELS)
    assert source.labels.dtype == np.int32
    assert source.classes == ("0", "1")
    named = sources.npz(path=write(tmp_path, images=IMAGES, labels=LABELS, classes=np.array(["cat", "dog", "owl"])))
    assert named.classes == ("cat", "dog", "owl")
    assert sources.npz(path=write(tmp_path, images=IMAGES, labels=LABELS, test=[3, 0])).given["test"].tolist() == [0, 3]


def test_labels_of_an_npz_may_be_names(tmp_path):
    names = np.array(["dog", "", "cat", "nan"])
    source = sources.npz(path=write(tmp_path, images=IMAGES, labels=names))
    np.testing.assert_array_equal(source.labels, [1, -1, 0, -1])
    assert source.classes == ("cat", "dog")
    assert source.notes == ("2 of 4 images without a label: '' (1), 'nan' (1)",)
    source = sources.npz(path=write(tmp_path, images=IMAGES, labels=names, classes=np.array(["dog", "owl", "cat"])))
    np.testing.assert_array_equal(source.labels, [0, -1, 2, -1])
    floats = np.array([1.0, np.nan, 0.0, 2.0])
    np.testing.assert_array_equal(sources.npz(path=write(tmp_path, images=IMAGES, labels=floats)).labels, [1, -1, 0, 2])


TAGS = np.array([[1, 1], [0, 0], [-1, -1], [0, 1]])


@pytest.mark.parametrize("tags", [TAGS, TAGS.astype(np.int8), TAGS == 1])
def test_an_npz_may_have_several_labels_for_each_image(tmp_path, tags):
    source = sources.npz(path=write(tmp_path, images=IMAGES, labels=tags, classes=np.array(["cat", "dog"])))
    assert source.multi_label
    np.testing.assert_array_equal(source.labels, tags.astype(int))
    assert (source.labels.dtype, source.classes) == (np.int32, ("cat", "dog"))
    assert sources.npz(path=write(tmp_path, images=IMAGES, labels=tags)).classes == ("0", "1")


SOFT = np.array([[0.9, 0.1], [0.25, 0.75], [-1.0, -1.0], [0.4, 0.6]], np.float32)


def test_soft_labels_are_learned_and_their_most_probable_class_is_the_label(tmp_path):
    source = sources.npz(path=write(tmp_path, images=IMAGES, soft_labels=SOFT))
    np.testing.assert_array_equal(source.labels, [0, 1, -1, 1])
    np.testing.assert_array_equal(source.targets(np.array([3, 0])), SOFT[[3, 0]])
    assert source.classes == ("0", "1")
    other = np.where(SOFT < 0, SOFT, SOFT[:, ::-1])
    assert sources.fingerprint(source) != sources.fingerprint(source._replace(soft_labels=other))


def test_labels_beside_soft_labels_are_the_labels(tmp_path):
    """Those by which images are split and judged; what is learned of unlabelled images is not read."""
    path = write(
        tmp_path, images=IMAGES, labels=np.array([1, 1, 0, -1]), soft_labels=np.abs(SOFT) / [[1], [1], [2], [9]]
    )
    source = sources.npz(path=path)
    np.testing.assert_array_equal(source.labels, [1, 1, 0, -1])
    np.testing.assert_allclose(source.targets(np.array([0, 2])), [[0.9, 0.1], [0.5, 0.5]])


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
        sources.npz(path=path)
    text = str(error.value)
    assert text.startswith("config.data.source.path: ")
    assert message.replace("{path}", path) in text
    assert "\n" not in text


def test_targets_are_rows_of_zeros_and_ones():
    one = sources.Source(IMAGES[..., None], LABELS.astype(np.int32), ("a", "b", "c"))
    assert not one.multi_label
    np.testing.assert_array_equal(one.targets(np.array([3, 0])), [[0, 1, 0], [1, 0, 0]])
    several = one._replace(labels=TAGS.astype(np.int32), classes=("a", "b"))
    np.testing.assert_array_equal(several.targets(np.array([3, 0])), [[0, 1], [1, 1]])
    assert one.targets(np.array([0])).dtype == several.targets(np.array([0])).dtype == np.float32


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
        sources.npz(path=write(tmp_path, **arrays))
    text = str(error.value)
    assert text.startswith("config.data.source.path: ")
    assert message in text
    assert "\n" not in text


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 half an archive"])
def test_a_file_that_is_no_npz_is_said(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"is not an \.npz of plain arrays"):
        sources.npz(path=str(tmp_path / "a.npz"))


def test_one_array_is_no_npz(tmp_path):
    np.save(tmp_path / "a.npy", IMAGES)
    with pytest.raises(UserError, match=r"is not an \.npz of plain arrays"):
        sources.npz(path=str(tmp_path / "a.npy"))


def test_no_file_is_said(tmp_path):
    with pytest.raises(UserError, match="no file"):
        sources.npz(path=str(tmp_path / "a.npz"))


def test_the_mean_colour_of_synthetic_images_tells_their_class():
    source = sources.synthetic(classes=3, size=16, images=30, seed=1)
    assert (source.images.shape, source.images.dtype) == ((30, 16, 16, 3), np.uint8)
    np.testing.assert_array_equal(np.bincount(source.labels), [10, 10, 10])
    colours = source.images.mean((1, 2))
    centres = np.stack([colours[source.labels == number][:5].mean(0) for number in range(3)])
    nearest = ((colours[:, None] - centres) ** 2).sum(-1).argmin(1)
    np.testing.assert_array_equal(nearest, source.labels)
    assert source.images.std((1, 2)).min() > 20  # and no image is just a colour
    assert len(np.unique(source.images.reshape(30, -1), axis=0)) == 30


def test_synthetic_images_are_those_of_the_seed():
    first, again, other = (sources.synthetic(classes=2, size=4, images=4, channels=1, seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(first.images, again.images)
    assert (first.images != other.images).any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"classes": 1}, "classes: 1 asked; want at least 2"),
        ({"size": 0}, "size: 0 asked; want at least 1"),
        ({"images": 4}, "images: 4 asked; want at least 5"),
        ({"channels": 0}, "channels: 0 asked; want at least 1"),
    ],
)
def test_synthetic_images_that_cannot_be_are_said(settings, message):
    with pytest.raises(UserError) as error:
        sources.synthetic(**{"classes": 5, "size": 4, "images": 10} | settings)
    assert str(error.value) == f"config.data.source.{message}"


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
        sources.npz(path=write(tmp_path, images=images, labels=np.array([0, 1, 1])))
    assert f": images of '{tmp_path}/a.npz' are {said}" in str(error.value)


def test_every_source_is_found_by_its_name():
    assert {name: source.__name__ for name, source in SOURCES.items()} == {name: name for name in SOURCES}
    assert {"folder", "parquet", "tfds", "npz", "synthetic", "mnist5k"} <= SOURCES.keys()


def test_the_fingerprint_sees_every_pixel_and_label():
    def of(images, labels, given=()):
        return sources.fingerprint(sources.Source(images, labels, (), {"test": np.array(given)} if given else {}))

    images, labels = IMAGES[..., None], LABELS.astype(np.int32)
    pixel, label = images.copy(), labels.copy()
    pixel[-1, -1, -1] += 1
    label[-1] = 0
    assert of(images, labels) == of(images.copy(), labels.copy())
    given = of(images, labels, [0]), of(images, labels, [1])
    plain = sources.Source(images, labels, ())
    groups = [sources.fingerprint(plain._replace(groups=np.full(4, value, np.int32))) for value in (0, 1)]
    boxes = [sources.fingerprint(plain._replace(objects={"boxes": np.full((4, 1, 4), value)})) for value in (0.0, 1.0)]
    assert len({of(images, labels), of(pixel, labels), of(images, label), *given, *groups, *boxes}) == 9
