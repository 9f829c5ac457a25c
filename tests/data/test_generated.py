"""Generated images: drawn from fitted Gaussians, or read from a folder."""

import unicodedata

import numpy as np
import pytest
from PIL import Image
from sklearn.decomposition import PCA

from efficient_jax.data.generated import fit, generate, read, sample, settings
from efficient_jax.errors import UserError


def covariance(model):
    return model.basis.T @ model.basis + model.noise * np.eye(len(model.mean))


def test_the_fit_is_that_of_scikit_learn():
    """Where there are more points than directions; it divides by n - 1."""
    points = np.random.default_rng(0).standard_normal((200, 6)) @ np.diag([3, 2, 1.5, 1, 0.5, 0.1])
    ours, theirs = fit(points, 2), PCA(2).fit(points)
    np.testing.assert_allclose(covariance(ours), theirs.get_covariance() * 199 / 200, atol=1e-10)
    np.testing.assert_allclose(ours.mean, theirs.mean_)


def test_few_points_keep_their_total_variance():
    points = np.random.default_rng(0).standard_normal((4, 50))
    np.testing.assert_allclose(np.trace(covariance(fit(points, 2))), points.var(0).sum())


def test_samples_have_the_moments_of_the_fit():
    rng = np.random.default_rng(0)
    model = fit(rng.standard_normal((30, 5)) * [3, 2, 1, 1, 0.2] + [1, 2, 3, 4, 5], 2)
    drawn = sample(model, 200_000, rng)
    np.testing.assert_allclose(drawn.mean(0), model.mean, atol=0.03)
    np.testing.assert_allclose(np.cov(drawn.T), covariance(model), atol=0.06)


def test_images_of_each_class_are_near_it():
    labels = np.repeat([0, 1], 5)
    images = np.random.default_rng(0).integers(0, 20, (10, 3, 3, 1)) + 200 * labels[:, None, None, None]
    made, of = generate(images.astype(np.uint8), labels, ("a", "b"), per_class=7, components=2, seed=0)
    assert made.shape == (14, 3, 3, 1)
    assert made.dtype == np.uint8
    assert ((made.mean((1, 2, 3)) > 100) == of).all()
    with pytest.raises(UserError, match=r"class 'b' has 1 labelled image;"):
        generate(images[:6].astype(np.uint8), labels[:6], ("a", "b"), per_class=1, components=1, seed=0)


CLASSES = ("cat", "dog", "café")
FRAMING = {"fit": "squash"}


def save(root, **grays):
    """Images of 4 x 6 pixels of one gray."""
    for name, gray in grays.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 4), (gray,) * 3).save(root / name)
    return str(root)


def test_a_folder_has_some_classes_and_is_prepared_like_the_images(tmp_path):
    """Square and gray as the dataset's; a class name that a Mac has decomposed is the same class."""
    path = save(tmp_path, **{"dog/b.png": 2, "dog/a.png": 1, unicodedata.normalize("NFD", "café/1.png"): 3})
    found = read(path, CLASSES, (8, 8, 1), FRAMING)
    assert found.images.shape == (3, 8, 8, 1)
    grays = dict(zip(found.images.reshape(3, -1).max(1).tolist(), found.labels.tolist(), strict=True))
    assert grays == {1: 1, 2: 1, 3: 2}
    assert (found.images == found.images[:, :1, :1]).all()
    assert found.labels.dtype == np.int32
    assert {name.rpartition("/")[2] for name in found.names} == {"a.png", "b.png", "1.png"}
    assert found.notes[0] == f"3 generated images were read from {path}"


def test_images_that_are_not_square_stay_as_they_are(tmp_path):
    path = save(tmp_path, **{"cat/1.png": 7})
    assert (read(path, CLASSES, (4, 6, 3), {}).images == 7).all()
    with pytest.raises(UserError, match=r"its images have \[4, 6, 3\] pixels, the data's \[6, 4, 3\]$"):
        read(path, CLASSES, (6, 4, 3), {})


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"dgo/1.png": 1}, r"folder 'dgo' is none of the 3 classes; did you mean 'dog'\?$"),
        ({"1.png": 1}, r"has no class folder with images; want .*/cat/1\.jpg$"),
    ],
)
def test_a_folder_of_another_layout_is_refused(tmp_path, files, message):
    with pytest.raises(UserError, match=r"^config\.data\.generated\.path: .*" + message):
        read(save(tmp_path, **files), CLASSES, (8, 8, 3), {})


def test_what_is_no_image_is_named(tmp_path):
    path = save(tmp_path, **{"dog/1.png": 1})
    (tmp_path / "dog/2.png").write_text("none")
    with pytest.raises(UserError, match=r"1 unreadable image: .*dog/2\.png \(not an image\)"):
        read(path, CLASSES, (8, 8, 3), {})
    with pytest.raises(UserError, match=r"'.*/nowhere' is not there; want a folder$"):
        read(str(tmp_path / "nowhere"), CLASSES, (8, 8, 3), {})


def test_images_are_drawn_or_read():
    with pytest.raises(UserError, match=r"^config\.data\.generated: path and per_class are both given; give one$"):
        settings(path="my_generated", per_class=3)
    settings(path="my_generated", weight=0.5)
