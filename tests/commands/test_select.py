"""select: which images of a folder to label next."""

import csv
import shutil

import numpy as np
import pytest
from PIL import Image

from efficient_jax import files
from efficient_jax.commands.predict import predict
from efficient_jax.commands.select import select
from efficient_jax.errors import UserError
from efficient_jax.explore import features
from efficient_jax.inference import predictions
from efficient_jax.metrics import calibration
from tests.commands.launch import launch


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def noise(group, seed, side=64):
    """Smooth noise around one of three colors: no copy of any other."""
    coarse = np.random.default_rng(seed).integers(0, 60, (8, 8, 3)) + 150 * np.eye(3, dtype=int)[group]
    return Image.fromarray(coarse.astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)


@pytest.fixture(autouse=True)
def no_pretrained_network(monkeypatch):
    """Features are components of pixels, which need no weights; one test has them."""

    def absent():
        raise UserError("not installed")

    monkeypatch.setattr(features, "lite0_network", absent)


@pytest.fixture
def folder(tmp_path):
    """Red, green and blue: 12 images each, without a label, in a folder with spaces and umlauts."""
    folder = tmp_path / "meine Bücher"
    folder.mkdir()
    for i in range(36):
        noise(i % 3, i).save(folder / f"{i:02d} 📷.png")
    return folder


def chosen(folder, tmp_path, **flags):
    """(the rows of the table, the names of the files)."""
    out = tmp_path / "out" / "to_label.csv"
    select(**{"images": str(folder), "out": str(out), "test": 0} | flags)
    found = rows(out)
    return found, [row["file"] for row in found]


def test_each_group_gets_an_image(folder, tmp_path, capsys):
    found, names = chosen(folder, tmp_path, count=3)
    assert {int(name[:2]) % 3 for name in names} == {0, 1, 2}
    assert [row["order"] for row in found] == ["1", "2", "3"]
    assert {(row["label"], row["part"]) for row in found} == {("", "selected")}
    np.testing.assert_allclose([float(row["covers"]) for row in found], [1 / 3] * 3, atol=1e-4)
    assert found[0]["reason"] == "nearest to 33.3% of the pool"
    out = capsys.readouterr().out
    assert "3 images of 36 without a label" in out
    assert "40 principal components of 16 x 16 pixels" in out


def test_images_for_the_test_are_drawn_before_the_first_choice_and_never_chosen(folder, tmp_path, capsys):
    """A fifth of 36 images; not again once something is held out, and as many as are asked for."""
    found, names = chosen(folder, tmp_path, count=29, test=-1)
    assert [row["part"] for row in found] == ["test"] * 7 + ["selected"] * 29
    assert len(set(names)) == 36
    assert names[:7] != sorted(names)[:7]
    assert {row["reason"] for row in found[:7]} == {"at random, for the test"}
    out = " ".join(capsys.readouterr().out.split())
    assert "7 random images for the test: their figure can be trusted; the others are chosen." in out
    assert f"next: python launch.py label '--images={folder}'" in out
    table = tmp_path / "labels.csv"
    table.write_text("".join(["file,label,part\n", *(f"{name},cat,test\n" for name in names[:7])]))
    assert [row["part"] for row in chosen(folder, tmp_path, count=3, test=-1, labels=str(table))[0]] == ["selected"] * 3
    assert [row["part"] for row in chosen(folder, tmp_path, count=1, test=2)[0]] == ["test", "test", "selected"]
    with pytest.raises(UserError, match="--test: 37 asked, and 36 images can be drawn"):
        chosen(folder, tmp_path, count=1, test=37)


def test_the_page_shows_every_image_with_its_reason(folder, tmp_path):
    shutil.copy(folder / "00 📷.png", folder / "<script>&.png")
    for i in range(36):
        (folder / f"{i:02d} 📷.png").unlink()
    noise(0, 99, 500).save(folder / "large.png")
    _, names = chosen(folder, tmp_path, count=2)
    page = (tmp_path / "out" / "to_label.html").read_text()
    assert sorted(names) == ["<script>&.png", "large.png"]
    assert page.count("<img") == page.count("nearest to 50.0% of the pool") == 2
    assert 'width="224"' in page
    assert "<script>" not in page


def test_labelled_images_cover_and_are_not_chosen(folder, tmp_path):
    """Class folders are labels; `unlabelled` and no folder are none. Two of three groups have labels."""
    for name, group in (("dark", 0), ("gray", 1), ("unlabelled", 2)):
        (folder / name).mkdir()
        for i in range(group, 18, 3):
            (folder / f"{i:02d} 📷.png").rename(folder / name / f"{i:02d}.png")
    _, names = chosen(folder, tmp_path, count=1)
    assert int(names[0].removeprefix("unlabelled/")[:2]) % 3 == 2
    _, names = chosen(folder, tmp_path, count=24)
    assert not any(name.startswith(("dark", "gray")) for name in names)
    with pytest.raises(UserError, match=r"--count: 25 asked, and 24 images of .* \(labelled \(12\); labels are tho"):
        chosen(folder, tmp_path, count=25)


def test_a_table_says_what_is_labelled_and_held_out(folder, tmp_path):
    (folder / "2024").mkdir()
    (folder / "01 📷.png").rename(folder / "2024/a.png")
    table = tmp_path / "labels.csv"
    table.write_text("file,label,part\n00 📷.png,cat,\n2024/a.png,none,\n02 📷.png,,test\n03 📷.png,dog,validation\n")
    _, names = chosen(folder, tmp_path, count=33, labels=str(table))
    assert set(names).isdisjoint({"00 📷.png", "02 📷.png", "03 📷.png"})
    assert "2024/a.png" in names


def test_images_that_somebody_has_looked_at_are_not_offered_again(folder, tmp_path):
    (tmp_path / "labels.csv").write_text("file,label,answer\n00 📷.png,,none\n01 📷.png,,unsure\n02 📷.png,,skip\n")
    _, names = chosen(folder, tmp_path, count=34, labels=str(tmp_path / "labels.csv"))
    assert set(names).isdisjoint({"00 📷.png", "01 📷.png"})
    assert "02 📷.png" in names


def test_a_filled_table_is_read_as_labels_and_never_overwritten(folder, tmp_path):
    first, names = chosen(folder, tmp_path, count=5)
    table = tmp_path / "out" / "to_label.csv"
    content = table.read_text()
    chosen(folder, tmp_path, count=5)  # no label is lost
    assert table.read_text() == content
    files.write_text(table, files.csv_text([*first[0]], [[*(row | {"label": "cat"}).values()] for row in first]))
    with pytest.raises(UserError, match=r"--out: '.*to_label\.csv' has labels; give it as --labels, and another file"):
        chosen(folder, tmp_path, count=5)
    select(images=str(folder), labels=str(table), count=31, test=0, out=str(tmp_path / "next.csv"))
    assert {row["file"] for row in rows(tmp_path / "next.csv")}.isdisjoint(names)


def test_duplicates_and_unreadable_images_are_left_out(folder, tmp_path, capsys):
    """An equal file, one stored anew in another size, copies of a labelled and of a test image."""
    shutil.copy(folder / "00 📷.png", folder / "99 equal.png")
    Image.open(folder / "01 📷.png").resize((80, 80)).save(folder / "98 anew.jpg", quality=90)
    Image.open(folder / "02 📷.png").save(folder / "97 labelled.jpg", quality=90)
    shutil.copy(folder / "03 📷.png", folder / "96 test.png")
    (folder / "95 broken.png").write_bytes(b"no image")
    table = tmp_path / "labels.csv"
    table.write_text("file,label,part\n02 📷.png,cat,\n96 test.png,,test\n")
    _, names = chosen(folder, tmp_path, count=34, labels=str(table))
    assert sorted(names) == sorted(f"{i:02d} 📷.png" for i in range(36) if i not in (2, 3))
    out = capsys.readouterr().out
    assert (
        "Left out: labelled (1), held out for test or validation (1), copies of other images (4), unreadable (1)."
        in out
    )
    assert "95 broken.png (not an image)" in out


def test_members_are_asked_what_they_are_unsure_of(teacher, folder, tmp_path, capsys):
    """The images chosen are among the less certain half, and the page names both classes with their probabilities."""
    found, names = chosen(folder, tmp_path, count=6, members=str(teacher))
    predict(members=str(teacher), images=str(folder), out=str(tmp_path / "p.npz"))
    stored = predictions.read(tmp_path / "p.npz", "test")
    first, second = np.sort(stored.probabilities, axis=1)[:, :-3:-1].T
    uncertainty = dict(zip([name.rpartition("/")[2] for name in stored.images], 1 - (first - second), strict=True))
    assert min(uncertainty[name] for name in names) >= np.mean([*uncertainty.values()]) / 2
    top = {name.rpartition("/")[2]: p for name, p in zip(stored.images, stored.probabilities, strict=True)}
    for row in found:
        a, b = np.argsort(-top[row["file"]], kind="stable")[:2]
        p = top[row["file"]]
        assert row["reason"].startswith(f"{a} {100 * p[a]:.0f}% or {b} {100 * p[b]:.0f}%; nearest to ")
    assert "at temperature 1 (no validation images)" in capsys.readouterr().out


def test_the_temperature_is_that_of_the_validation_images(teacher, folder, tmp_path, capsys):
    stage = shutil.copytree(teacher, tmp_path / "stage")
    known = predictions.read(stage / "predictions.npz", "test")
    predictions.write(stage / "validation.npz", known)
    chosen(folder, tmp_path, count=2, members=str(stage))
    expected = calibration.temperature(known.probabilities, known.labels)
    assert f"at temperature {expected:.2f} are" in capsys.readouterr().out


def test_images_that_a_run_tests_on_are_not_offered(teacher, folder, tmp_path):
    """Known by their content: the run's `split.csv` names 30 of them for the test and 3 that are labelled."""
    run = shutil.copytree(teacher.parent, tmp_path / "run")
    predict(members=str(teacher), images=str(folder), out=str(tmp_path / "p.csv"))
    parts = ["test"] * 30 + ["labelled"] * 3 + ["unlabelled"] * 3
    lines = [
        [part, number, f"renamed {number}", row["content"], 0]
        for number, (part, row) in enumerate(zip(parts, rows(tmp_path / "p.csv"), strict=True))
    ]
    files.write_text(run / "split.csv", files.csv_text(["part", "number", "image", "content", "label"], lines))
    _, names = chosen(folder, tmp_path, count=3, members=str(run / teacher.name))
    assert sorted(names) == [f"{i} 📷.png" for i in (33, 34, 35)]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"images": ""}, "select: --images=FOLDER is missing"),
        ({"images": "nowhere"}, "--images: 'nowhere' is not there; want a folder"),
        ({"images": "{empty}"}, "--images: no images in"),
        ({"count": 0}, "--count: 0 is too small"),
        ({"test": -2}, "--test: -2 is too small"),
        ({"count": 99}, r"--count: 99 asked, and 36 images of .* can be chosen \(there are no more; labels"),
        ({"out": "to_label.txt"}, r"--out: 'to_label\.txt' is no \.csv"),
        ({"members": "nowhere"}, "--members: 'nowhere' is neither a run nor a stage of one"),
        ({"labels": "nowhere.csv"}, r"--labels: cannot read 'nowhere\.csv': No such file"),
        ({"labels": "{table}"}, "--labels: '.*' has no column 'label'; did you mean 'lable'"),
        ({"labels": "{elsewhere}"}, "--labels: none of the 1 file of '.*' is in '.*', such as 'x.png'"),
    ],
)
def test_what_cannot_be_chosen_is_said(folder, tmp_path, flags, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "table.csv").write_text("file,lable\n00 📷.png,cat\n")
    (tmp_path / "elsewhere.csv").write_text("file,label\nx.png,cat\n")
    paths = {"empty": tmp_path / "empty", "table": tmp_path / "table.csv", "elsewhere": tmp_path / "elsewhere.csv"}
    flags = {name: value.format(**paths) if isinstance(value, str) else value for name, value in flags.items()}
    with pytest.raises(UserError, match=message):
        select(**{"images": str(folder), "count": 3, "test": 0, "out": str(tmp_path / "out.csv")} | flags)


def test_all_labelled_is_said(folder, tmp_path):
    (folder / "cat").mkdir()
    for i in range(36):
        (folder / f"{i:02d} 📷.png").rename(folder / "cat" / f"{i}.png")
    with pytest.raises(UserError, match=r"0 images of .* \(labelled \(36\); labels are those of the class folders cat"):
        chosen(folder, tmp_path, count=1)


def test_folders_of_a_split_are_no_classes(folder, tmp_path):
    (folder / "train").mkdir()
    (folder / "00 📷.png").rename(folder / "train" / "0.png")
    with pytest.raises(UserError, match="has the folders train, which are no classes; give the one to choose from"):
        chosen(folder, tmp_path, count=1)


def test_the_command_line(folder, tmp_path):
    code, out, err = launch("select", f"--images={folder}", "--count=2", "--test=0", f"--out={tmp_path}/a.csv")
    assert (code, err) == (0, "")
    assert f"to label next: {tmp_path}/a.csv, {tmp_path}/a.html" in out
    assert len(rows(tmp_path / "a.csv")) == 2
