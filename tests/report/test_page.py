"""The page of a tiny run folder with known numbers and hostile names."""

import json
import re

import numpy as np
import pytest

from efficient_jax.errors import UserError
from efficient_jax.files import read_json, write_json
from efficient_jax.report import tables
from efficient_jax.report.page import write_report
from efficient_jax.report.results import read_metrics, read_results
from efficient_jax.tasks import CLASSIFICATION, MULTI_LABEL
from tests.report.stored_run import ATTACK, Page

ACCURACY = CLASSIFICATION.columns


def test_every_name_is_escaped(workdir):
    text = write_report(workdir, ACCURACY).read_text()
    assert not [tag for tag, _ in Page(text).tags if tag == "script"]
    # command, config, teacher; two matrices of two headers each; two mistakes with their alternative texts; of the
    # pseudo-labels a bar, a share and a warning; a note
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 3 + 2 * 2 + 2 * 2 + 3 + 1


def test_nothing_is_loaded_from_elsewhere(workdir):
    tags = Page(write_report(workdir, ACCURACY).read_text()).tags
    links = [value for _, attributes in tags for name, value in attributes.items() if name in ("src", "href")]
    assert links
    assert {link for link in links if not link.startswith(("data:image/", "#"))} == {"index.html", "report.html"}
    assert not {"link", "iframe", "object"} & {tag for tag, _ in tags}


def test_every_link_has_its_section(workdir):
    tags = [attributes for _, attributes in Page(write_report(workdir, ACCURACY).read_text()).tags]
    ids = {attributes["id"] for attributes in tags if "id" in attributes}
    hrefs = {attributes["href"] for attributes in tags if "href" in attributes}
    assert {href[1:] for href in hrefs if href.startswith("#")} <= ids
    assert all((workdir / href).is_file() for href in hrefs if not href.startswith("#"))


def test_table_has_the_cells_of_the_terminal_with_the_accuracy_first(workdir):
    rows = tables.stage_rows(read_results(workdir), ACCURACY)
    assert [row[0] for row in rows] == ["teacher", "student"]
    wanted = [[name, accuracy, *others] for name, *others, accuracy in rows]
    assert Page(write_report(workdir, ACCURACY).read_text()).cells[:16] == [*wanted[0], *wanted[1]]


def test_numbers_of_the_run(workdir):
    page = Page(write_report(workdir, ACCURACY).read_text())
    text = workdir.joinpath("report.html").read_text()
    assert page.cells[16:20] == ["1", "", "1", "1"]  # confusion matrix of the first stage
    # class, bar, kept, right of kept, copies, in pool, right of pool, found of those that are there
    assert page.cells[20:28] == [ATTACK, "", "2", "50.0", "3", "5", "66.7", "25.0"]
    assert page.cells[28:36] == ["$\\frac", "", "none", "–", "0", "2", "100.0", "100.0"]
    assert page.cells[36:42] == ["0.7–0.8", "", "2", "50.0", "7", "75.0"]
    # shares of labelled images, of predictions, of what is learned
    assert re.findall(r"<span>([\d.]+)</span>", text) == ["25.0", "71.4", "100.0", "75.0", "28.6", "0.0"]
    assert "7 images; 2\n(28.6%) are kept, some several times for balance:\nthreshold = 0.75, soft = True." in text
    assert "Of the labels kept, 50.0% are right; of all, 75.0%." in text
    for fact in ("student.optim.lr = 0.25", "0.4321", "0.0123", "abc1234 with uncommitted changes", "0.10.2"):
        assert fact in text


def test_the_page_says_where_pseudo_labels_are(workdir):
    about = workdir / "student/pseudo_labels.json"
    assert "Every image is in student/pseudo_labels.csv." in write_report(workdir, ACCURACY).read_text()
    write_json(about, read_json(about) | {"shards": 12, "top": 10})
    line = "Every image is in student/pseudo_labels/, 12 Parquet files, with its 10 most probable classes."
    assert line in write_report(workdir, ACCURACY).read_text()


def test_a_run_under_way_is_shown_as_far_as_it_is(workdir):
    (workdir / "student" / "result.json").unlink()
    with (workdir / "student" / "metrics.jsonl").open("a") as log:
        log.write('{"step": 40, "lo')
    text = write_report(workdir, ACCURACY).read_text()
    assert Page(text).cells[6:12] == ["student", "not finished", *["–"] * 4]
    assert "last logged at step 30" in text


def test_a_run_without_git_has_an_unknown_commit(workdir):
    about = read_json(workdir / "run.json")
    write_json(workdir / "run.json", about | {"git_commit": None, "git_dirty": False})
    assert "<dt>git commit</dt><dd>unknown</dd>" in write_report(workdir, ACCURACY).read_text()


def test_only_the_config_is_needed(tmp_path):
    (tmp_path / "config.json").write_text('{"stages": ["only"]}')
    text = write_report(tmp_path, ACCURACY).read_text()
    assert Page(text).cells == ["only", "not finished"]
    assert "not started" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "index.html", "report.html"]


def test_a_mistake_has_the_names_of_its_classes(workdir):
    text = write_report(workdir, ACCURACY).read_text()
    assert (
        "true <b>b</b><br>predicted <b>&lt;script&gt;alert(1)&lt;/script&gt;</b><br>probability 70.0%<br>3.png" in text
    )


def test_no_mistakes_and_no_samples(workdir):
    empty = np.zeros(0, np.int64)
    images = np.zeros((0, 8, 8, 1), np.uint8)
    for stage in ("teacher", "student"):
        path = workdir / stage / "mistakes.npz"
        np.savez(
            path, images=images, id=empty, true_names=empty, predicted_names=empty, confidence=empty, file_names=empty
        )
        np.savez(workdir / stage / "samples.npz", raw=images, augmented=images[:, None])
    text = write_report(workdir, ACCURACY).read_text()
    assert "Most confident mistakes" not in text
    assert "Training images" not in text


def test_many_classes_are_drawn_with_the_commonest_mistakes(workdir):
    label = np.arange(30)
    probabilities = np.eye(30, dtype=np.float32)[np.where(label == 7, 8, label)]
    np.savez(workdir / "teacher" / "predictions.npz", id=label, probabilities=probabilities, label=label)
    cells = Page(write_report(workdir, ACCURACY).read_text()).cells
    assert cells[16:19] == ["7", "8", "1"]


def test_several_labels_have_no_confusion_matrix(workdir):
    stage = workdir / "teacher"
    counts = {"mean_average_precision": 0.71, "micro_f1": 0.72, "macro_f1": 0.73}
    result = json.loads((stage / "result.json").read_text()) | {"thresholds": [0.5, 0.4]}
    del result["calibration_error"]
    result |= {"test": {"correct": 80, "n": 100} | counts, "validation": {"correct": 45, "n": 50} | counts}
    (stage / "result.json").write_text(json.dumps(result))
    tags = np.array([[1, 1], [0, 0], [0, 1]])
    probabilities = np.full((3, 2), 0.5, np.float32)
    np.savez(stage / "predictions.npz", id=np.arange(3), probabilities=probabilities, label=tags)
    images = np.zeros((2, 8, 8, 1), np.uint8)
    shown = np.array(["<i>, b", "nothing"])
    wrong = {"images": images, "true_names": shown, "predicted_names": shown[::-1], "file_names": ["1.png", "2.png"]}
    np.savez(stage / "mistakes.npz", **wrong, loss=np.array([1.25, 0.5]))
    (workdir / "config.json").write_text('{"stages": ["teacher"]}')
    text = write_report(workdir, MULTI_LABEL.columns, False, True).read_text()
    assert "Confusion matrix" not in text
    assert "Mistakes with the largest loss" in text
    assert "true <b>nothing</b><br>predicted <b>&lt;i&gt;, b</b><br>loss 0.500<br>2.png" in text
    assert "Test images with all labels right" in text
    assert "test accuracy" not in text
    cells = Page(text).cells
    assert cells[1:5] == ["80.00 [71.12, 86.66]", "71.00", "72.00", "73.00"]
    # of the second label: predicted for all three, of which two have it
    assert cells[16:20] == ["$\\frac", "80.0", "66.7", "2"]
    assert cells[20].startswith("0.40")
    assert cells[22].startswith("66.67 [")


def test_images_that_training_does_not_change_are_shown_once(workdir):
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 1), np.uint8)
    np.savez(workdir / "teacher" / "samples.npz", raw=images, augmented=np.stack([images, images], axis=1))
    np.savez(workdir / "student" / "samples.npz", raw=images, augmented=np.stack([images, 255 - images], axis=1))
    text = write_report(workdir, ACCURACY).read_text()
    assert text.count("As stored: training does not augment them.") == 1
    heights = re.findall(r'height="(\d+)" alt="labelled training images of (\w+), image 1"', text)
    assert dict(map(reversed, heights)) == {"teacher": "96", "student": str((8 + 2 + 8 + 1 + 8) * 12)}


def test_a_training_image_has_its_class_or_what_the_teacher_says(workdir):
    images = np.zeros((3, 8, 8, 1), np.uint8)
    views, targets = images[:, None], np.array([[0, 1], [0.3, 0.7], [0, 0]])
    unlabelled = {"unlabelled_raw": images, "unlabelled_augmented": views, "unlabelled_targets": targets}
    unlabelled["unlabelled_names"] = np.array(["1.png", "2.png", "3.png"])
    run = json.loads((workdir / "run.json").read_text())
    run["data"]["classes"] = ["ant", "bee"]
    (workdir / "run.json").write_text(json.dumps(run))
    np.savez(
        workdir / "student" / "samples.npz", raw=images, augmented=views, targets=np.eye(2)[[0, 1, 0]], **unlabelled
    )
    text = write_report(workdir, ACCURACY).read_text()
    assert re.findall(r"image \d\"><figcaption>([^<]*)<", text) == [
        "ant",
        "bee",
        "ant",
        "bee · 1.png",
        "bee 70% · 2.png",
        "3.png",
    ]


def test_classes_that_are_numbers_are_called_classes(workdir):
    run = json.loads((workdir / "run.json").read_text())
    run["data"]["classes"] = ["0", "1"]
    (workdir / "run.json").write_text(json.dumps(run))
    mistakes = {
        "images": np.zeros((1, 8, 8, 1), np.uint8),
        "true_names": ["0"],
        "predicted_names": ["1"],
        "file_names": [""],
    }
    np.savez(workdir / "student" / "mistakes.npz", **mistakes, confidence=np.array([0.6]))
    assert "true <b>class 0</b><br>predicted <b>class 1</b>" in write_report(workdir, ACCURACY).read_text()


def test_validation_is_drawn_beside_training(workdir):
    assert "This run has no validation images." in write_report(workdir, ACCURACY).read_text()
    with (workdir / "student" / "metrics.jsonl").open("a") as log:
        log.write("".join(json.dumps({"step": step, "validation_accuracy": step / 50}) + "\n" for step in (10, 30)))
    text = write_report(workdir, ACCURACY).read_text()
    assert "accuracy, % of student over 30 steps: training ends at 30, validation ends at 60, test is 90" in text
    assert "accuracy, % of teacher over 30 steps: training ends at 30, test is 80" in text


def test_the_validation_loss_is_drawn_beside_that_of_training(workdir):
    with (workdir / "student" / "metrics.jsonl").open("a") as log:
        log.write("".join(json.dumps({"step": step, "validation_loss": 4 / step}) + "\n" for step in (10, 30)))
    text = write_report(workdir, ACCURACY).read_text()
    assert re.search(r"loss of student over 30 steps: training ends at [\d.]+, validation ends at 0\.133", text)
    assert "of validation images the negative log-likelihood" in text


def test_a_failed_report_leaves_the_old_one(workdir):
    before = write_report(workdir, ACCURACY).read_text()
    (workdir / "student" / "result.json").write_text('{"test": {}}')
    with pytest.raises(KeyError):
        write_report(workdir, ACCURACY)
    assert (workdir / "report.html").read_text() == before


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no config\.json with stages"):
        write_report(tmp_path, ACCURACY)


def test_what_a_resumed_run_logs_again_counts_once(tmp_path):
    steps = [(10, 3.0), (20, 2.0), (30, 9.0), (15, 1.5), (20, 1.0), (30, 0.5)]
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": step, "loss": loss}) + "\n" for step, loss in steps))
    columns = read_metrics(path)
    assert columns["step"].tolist() == [10, 15, 20, 30]
    assert columns["loss"].tolist() == [3.0, 1.5, 1.0, 0.5]
