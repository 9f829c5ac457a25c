"""Files of predictions."""

import tracemalloc

import numpy as np
import pytest

from efficient_jax.errors import UserError
from efficient_jax.inference.predictions import Predictions, matched, read, write
from efficient_jax.tasks import SEGMENTATION


def predictions(several=False, n=6, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, (n, 3)) if several else np.r_[-1, rng.integers(0, 3, n - 1)]
    probabilities = rng.random((n, 3)) if several else rng.dirichlet(np.ones(3), n)
    ids = np.random.default_rng(1).permutation(100)[:n]
    images = tuple(f'{i},"x\n.jpg' for i in ids)
    probabilities, labels = probabilities.astype(np.float32), labels.astype(np.int32)
    task = "multi_label" if several else "classification"
    return Predictions(ids, probabilities, labels, ("a", "p(b)", "c,;"), images, task=task)


@pytest.mark.parametrize("suffix", ["npz", "csv"])
@pytest.mark.parametrize("several", [False, True])
def test_what_was_written_is_read(tmp_path, suffix, several):
    path, written = tmp_path / f"p.{suffix}", predictions(several)
    written = written._replace(pixel_areas=np.linspace(1, 4, 6)) if suffix == "npz" else written
    write(path, written)
    for found, expected in zip(read(path, "test"), written, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_file_of_another_program_needs_ids_and_probabilities(tmp_path):
    np.savez(tmp_path / "p.npz", id=np.arange(2), probabilities=np.full((2, 2), 0.5))
    (tmp_path / "p.csv").write_text("p(b),id,p(a)\n0.25,7,0.75\n")
    assert read(tmp_path / "p.npz", "test").images == ("image 0", "image 1")
    found = read(tmp_path / "p.csv", "test")
    assert (found.classes, found.ids.tolist(), found.labels.tolist()) == (("b", "a"), [7], [-1])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_files_of_other_programs(tmp_path, encoding, delimiter):
    point = "." if delimiter == "," else ","
    rows = [
        ["id", " image", "label ", "p(caf\u00e9)", "p(b)"],
        ["7", "x.png", "b", " 0.25 ".replace(".", point), "0.75".replace(".", point)],
        ["3", "y.png", "nan", "1", "0"],
        ["4", "z.png", "-1", "1", "0"],
        [],
        [""] * 5,
    ]
    text = "\r\n".join(delimiter.join(row) for row in rows)
    (tmp_path / "p.csv").write_bytes(text.encode(encoding))
    found = read(tmp_path / "p.csv", "test")
    assert (found.classes, found.ids.tolist(), found.images) == (
        ("caf\u00e9", "b"),
        [7, 3, 4],
        ("x.png", "y.png", "z.png"),
    )
    assert found.labels.tolist() == [1, -1, -1]
    np.testing.assert_array_equal(found.probabilities, [[0.25, 0.75], [1, 0], [1, 0]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "id,p(a),p(b)\n1,0.5,0.6\n",
            r"1 row is not probabilities, first that of 'image 1': \[0.5, 0.6.*sum is 1, not 1\.1000",
        ),
        ("id,p(a),p(b)\n1,nan,0.6\n", "1 row is not probabilities"),
        ("id,p(a),p(b)\n1,-0.5,1.5\n", "1 row is not probabilities"),
        ("id,p(a),p(b)\n1,0.5,0.5\n1,0.5,0.5\n", "has an id twice"),
        ("id,label,p(a),p(b)\n1,c,0.5,0.5\n", r", column 'label': unknown class 'c'; there is: a, b"),
        ("id,p(a),p(a)\n1,0.5,0.5\n", r"it has two columns 'p\(a\)'"),
        ("id,label(a),label(b),p(a),p(b)\n1,0,x,0.5,0.5\n", r", column 'label\(b\)': 'x' is not an integer"),
        ("id,p(a),p(b)\n1.5,0.5,0.5\n", ", column 'id': '1.5' is not an integer"),
        ("p(a),p(b)\n0.5,0.5\n", "it has no 'id'"),
        ("id,a\n1,0.5\n", r"no columns p\(class\)"),
        ("id,p(a)\n1\n", ": 1 cells, but the first row names 2 columns"),
        ("", "does not hold predictions"),
        ("id,p(a)\n1,x\n", r", column 'p\(a\)': 'x' is not a number"),
    ],
)
def test_what_are_no_predictions_is_said(tmp_path, text, message):
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(UserError, match=rf"^--members: (line 2 of )?'.*p\.csv'.*{message}"):
        read(tmp_path / "p.csv", "--members")


def test_damaged_and_missing_files_are_said(tmp_path):
    (tmp_path / "p.npz").write_bytes(b"no zip")
    for path, message in ((tmp_path / "p.npz", "does not hold predictions"), (tmp_path / "q.npz", "no file")):
        with pytest.raises(UserError, match=message):
            read(path, "--members")


def test_members_are_brought_into_one_order():
    first = predictions()
    order = np.random.default_rng(2).permutation(6)
    other = Predictions(*(np.asarray(each)[order] for each in first[:3]), first.classes, ())
    other = other._replace(probabilities=other.probabilities[:, ::-1], labels=np.full(6, -1))
    found = matched([first, other], ["x", "y"], "--members")[1]
    np.testing.assert_array_equal(found.probabilities, first.probabilities[:, ::-1])
    np.testing.assert_array_equal(found.labels, first.labels)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": ("p(b)", "a", "c,;")}, r"classes of 'y' are \['p\(b\)', 'a'"),
        ({"images": tuple("uvwxyz")}, "6 images of 'x' are not in 'y', compared by name, such as '"),
        ({"images": (), "ids": np.arange(200, 206)}, "6 images of 'x' are not in 'y', compared by id, such as ids"),
        ({"labels": np.zeros(6, np.int32)}, "labels of 'y' are not those of 'x'"),
    ],
)
def test_members_of_other_images_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        matched([predictions(), predictions()._replace(**change)], ["x", "y"], "--members")


def test_maps_are_judged_without_all_of_them_in_memory(tmp_path):
    rng, classes = np.random.default_rng(0), tuple("abcdefgh")
    maps = rng.dirichlet(np.ones(8), (40, 48, 48)).astype(np.float32)
    labels = rng.integers(0, 8, maps.shape[:3]).astype(np.uint8)
    names = tuple(f"{i}.png" for i in range(40))
    write(tmp_path / "p.npz", Predictions(np.arange(40), maps, labels, classes, names, task="segmentation"))
    tracemalloc.start()
    first = read(tmp_path / "p.npz", "test")
    second = first._replace(probabilities=first.probabilities[::-1], images=names[::-1], labels=labels[::-1])
    _, second = matched([first, second], ["first", "second"], "test")
    answers, losses = (
        SEGMENTATION.answers(second.probabilities, ()),
        SEGMENTATION.severity(second.probabilities, labels),
    )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < maps.nbytes / 3  # labels and answers, 8 bits a pixel
    assert first.labels.dtype == answers.dtype == np.uint8
    np.testing.assert_array_equal(second.probabilities, maps.astype(np.float16))
    rounded = maps.astype(np.float16).astype(np.float64)
    np.testing.assert_array_equal(answers, rounded.argmax(-1))
    expected = -np.log(np.take_along_axis(rounded, labels[..., None].astype(int), -1))[..., 0].mean((1, 2))
    np.testing.assert_allclose(losses, expected, rtol=1e-9)


def test_maps_of_different_sizes_are_said():
    def of(size):
        probabilities = np.full((1, size, size, 2), 0.5, np.float32)
        labels = np.zeros((1, size, size), np.int32)
        return Predictions(np.arange(1), probabilities, labels, ("a", "b"), ("x.png",), task="segmentation")

    with pytest.raises(UserError, match=r"^test: maps of 'small' have 4 x 4 pixels, those of 'large' 8 x 8 pixels; "):
        matched([of(8), of(4)], ["large", "small"], "test")
