"""Files of predictions."""

import numpy as np
import pytest

from efficient_jax.predictions import Predictions, matched, read, write
from efficient_jax.types import UserError


def predictions(several=False, n=6, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, (n, 3)) if several else np.r_[-1, rng.integers(0, 3, n - 1)]
    probabilities = rng.random((n, 3)) if several else rng.dirichlet(np.ones(3), n)
    ids = np.random.default_rng(1).permutation(100)[:n]
    images = tuple(f'{i},"x\n.jpg' for i in ids)
    return Predictions(ids, probabilities.astype(np.float32), labels.astype(np.int32), ("a", "p(b)", "c,;"), images)


@pytest.mark.parametrize("suffix", ["npz", "csv"])
@pytest.mark.parametrize("several", [False, True])
def test_what_was_written_is_read(tmp_path, suffix, several):
    path, written = tmp_path / f"p.{suffix}", predictions(several)
    write(path, written)
    for found, expected in zip(read(path, "test"), written, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_file_of_another_program_needs_ids_and_probabilities(tmp_path):
    np.savez(tmp_path / "p.npz", id=np.arange(2), probabilities=np.full((2, 2), 0.5))
    (tmp_path / "p.csv").write_text("p(b),id,p(a)\n0.25,7,0.75\n")
    assert read(tmp_path / "p.npz", "test").images == ("image 0", "image 1")
    found = read(tmp_path / "p.csv", "test")
    assert (found.classes, found.ids.tolist(), found.labels.tolist()) == (("b", "a"), [7], [-1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,p(a),p(b)\n1,0.5,0.6\n", r"1 image are none, first of 'image 1': \[0.5, 0.6.*sum is 1, not 1\.1000"),
        ("id,p(a),p(b)\n1,nan,0.6\n", "1 image are none"),
        ("id,p(a),p(b)\n1,-0.5,1.5\n", "1 image are none"),
        ("id,p(a),p(b)\n1,0.5,0.5\n1,0.5,0.5\n", "has an id twice"),
        ("id,label,p(a),p(b)\n1,c,0.5,0.5\n", "it has no 'c'"),
        ("p(a),p(b)\n0.5,0.5\n", "it has no 'id'"),
        ("id,a\n1,0.5\n", r"no columns p\(class\)"),
        ("id,p(a)\n1\n", "does not hold predictions"),
        ("", "does not hold predictions"),
        ("id,p(a)\n1,x\n", "could not convert"),
    ],
)
def test_what_are_no_predictions_is_said(tmp_path, text, message):
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(UserError, match=rf"^--members: '.*p\.csv'.*{message}"):
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
        ({"ids": np.arange(200, 206)}, "12 ids are in one of them only"),
        ({"labels": np.zeros(6, np.int32)}, "labels of 'y' are not those of 'x'"),
    ],
)
def test_members_of_other_images_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        matched([predictions(), predictions()._replace(**change)], ["x", "y"], "--members")
