"""label: enters labels in the browser, on a page that this machine serves to itself."""

import getpass
import shlex
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from efficient_jax import files
from efficient_jax.commands import label_server
from efficient_jax.commands.files import PROGRAM
from efficient_jax.commands.review import review as review_annotations
from efficient_jax.data import class_names, delimited
from efficient_jax.data.dataset import HELD_OUT
from efficient_jax.distributed import log
from efficient_jax.errors import UserError, counted, few, nearest
from efficient_jax.labelling import guesses, session
from efficient_jax.labelling import images as image_list
from efficient_jax.labelling.guesses import Guesses, Members
from efficient_jax.labelling.images import Images
from efficient_jax.labelling.queue import Queue
from efficient_jax.labelling.session import Session
from efficient_jax.labelling.store import Store
from efficient_jax.models.pretrained import PACKAGED
from efficient_jax.selection.coverage import uncertainty_coverage
from efficient_jax.tasks import TASKS
from efficient_jax.training.trained import stage_and_step


def label(
    images: str = "",
    classes: str = "",
    members: str = "",
    review: str = "",
    order: str = "",
    out: str = "",
    name: str = "",
    several: bool = False,
    test: int = 0,
    port: int = 0,
) -> None:
    """Serves a page on which the images of a folder are labelled, one key for each image; Ctrl-C ends it.

    Only this machine can open the page, at the address that is printed. Every answer is on disk before the next image
    appears: in a log beside OUT, with time and person, and in OUT, which is what the source "table" reads. The same
    command carries on where it stopped.

    Args:
        images: folder of images, which may have other folders in it.
        classes: names, separated by commas, in the order of their keys; empty: those of OUT or of the members.
        members: RUN or RUN/STAGE, separated by commas: their predictions are selected when an image appears, and the
            order follows what they are unsure of.
        review: RUN or RUN/STAGE, separated by commas: shows the labelled images whose label they do not predict,
            suspected label errors first. Members that were trained on these labels find fewer. A stage that predicts
            masks or boxes shows the annotated images of its run, those first that it predicts otherwise, and asks
            whether each annotation is right.
        order: table with a column file, as `select` writes it: these images come first; empty: in the order of names.
            Its column part, where there is one, says which of them are a random draw for the test; the column part of
            OUT says "selected" of the others, so that no figure on them is taken for one on random images.
        out: table of labels, .csv; empty: labels.csv, and of masks and boxes reviewed.csv. A table that is there is
            added to.
        name: who labels, kept with every answer; empty: the user of this machine.
        several: an image can have several labels; OUT then has a column of 0 and 1 for each class.
        test: so many images are drawn at random for the test and shown first, of those without an answer; the column
            part of OUT says test. Only figures on a random draw hold for the rest.
        port: of this machine, where the page is served; 0: a free one.

    Raises:
        UserError: the folder, a member or the order does not exist, OUT holds something else, or the port is taken.
    """
    trained, where, who = members or review, "--members" if members else "--review", name or _user()
    if members and review:
        raise UserError("label: give --members, which guess new labels, or --review, which look for wrong ones")
    parts = next(filter(_predicts_parts, trained.split(",") if trained else ()), "")
    out = out or ("reviewed.csv" if parts else "labels.csv")
    if Path(out).suffix != ".csv":
        raise UserError(f"--out: {out!r} is no .csv")
    if parts:
        if members:
            raise UserError(f"--members: {parts!r} predicts masks or boxes, which are not entered here; --review does")
        given = {"images": images, "classes": classes, "order": order, "several": several, "test": test}
        if unread := [flag for flag, value in given.items() if value]:
            raise UserError(f"--{unread[0]}: a review of masks or boxes shows the images of their run; leave it out")
        return review_annotations(review, out, who, port)
    if not images:
        raise UserError("label: --images=FOLDER is missing")
    listed, notes = image_list.listed(images, "--images")
    store = Store(Path(out), several, set(listed.names))
    if test < 0:
        raise UserError(f"--test: {test} is too small; want 0 or more")
    order_parts = _order(listed, order)
    held_out = {listed.names[index]: part for index, part in order_parts.items() if part in HELD_OUT}
    for part in HELD_OUT:
        store.add(*session.part_events(store, (name for name in held_out if held_out[name] == part), part, who))
    try:
        session.draw(store, listed.names, test, who)
    except session.Refused as error:
        raise UserError(f"--test: {error}") from error
    first = [index for index, file in enumerate(listed.names) if store.answers.parts.get(file) in HELD_OUT]
    selected = [index for index, part in order_parts.items() if part not in HELD_OUT]
    queue = Queue((*order_parts, *range(len(listed.names))), first, selected)
    work = Session(listed, store, queue, who, bool(review))
    opened = _start(store, classes, trained, where, who)
    serving = label_server.listening(work, port)
    log(f"label at {serving.address}\n{_about(work, images)}")
    for note in notes:
        log(f"note: {note}")
    if trained:
        work.loading = True
        threading.Thread(target=_guess, args=(work, trained, where, opened), daemon=True).start()
    label_server.serve(serving)
    if work.guesses:
        work.guesses.stop()
    log(f"\n{_ended(work, images, out)}")


def _predicts_parts(name: str) -> bool:
    """Returns whether a stage predicts masks or boxes; False for what is no stage, which others say."""
    try:
        folder, _ = stage_and_step(name, "")
        about = files.read_json(folder.parent / "run.json")
    except (UserError, OSError):
        return False
    return not TASKS[about["data"]["task"]].by_image


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container without names of users
        return "someone"


def _order(listed: Images, order: str) -> dict[int, str]:
    """Returns index -> part of the images that a table names, in its order; the part is "" where it says none."""
    if not order:
        return {}
    table = delimited.read(order, "--order", ["file"])
    if "file" not in table.names:
        raise UserError(f"--order: {order!r} has no column 'file'{nearest('file', table.names)}")
    index_of = {class_names.normal(name): index for index, name in enumerate(listed.names)}
    names = [class_names.normal(name).removeprefix("./") for name in table.column("file")]
    parts = table.column("part") if "part" in table.names else [""] * len(names)
    known = {index_of[name]: part.lower() for name, part in zip(names, parts, strict=True) if name in index_of}
    if not known:
        raise UserError(f"--order: none of the {counted(len(names), 'file')} of {order!r} is in the folder of --images")
    return known


def _start(store: Store, classes: str, trained: str, where: str, who: str) -> Members | None:
    """Adds the classes to the log; returns the members where they had to be read for their classes."""
    names: Sequence[str] = [name for name in classes.split(",") if name.strip()]
    opened = None
    if trained and not (names or store.answers.classes):
        opened = guesses.opened(trained, where)
        names = opened.classes
    for name in trained.split(",") if trained and not opened else ():
        if name not in PACKAGED:
            stage_and_step(name, where)  # a wrong name is an error now, not when the page is open
    try:
        session.start(store, names, who)
    except session.Refused as error:
        raise UserError(f"--classes: {error}") from error
    if not store.answers.classes:
        raise UserError("label: --classes=cat,dog,... is missing")
    return opened


def _about(work: Session, images: str) -> str:
    answers = work.store.answers
    counts = answers.counts - work.gone
    classes = f"{counted(len(answers.classes), 'class', 'classes')}: {few(answers.classes, 12)}"
    lines = [
        f"{counted(len(work.images.names), 'image')} of {images!r}, {classes}",
        f"answers: {work.store.table}, with who said what and when in {work.store.log}",
    ]
    if drawn := len(work.queue.first):
        lines.append(
            f"{counted(drawn, 'image')} at random for the test come first: only figures on these hold for the rest"
        )
    if counts.total():
        lines.append(f"carries on: {_counted(counts)}")
    if gone := work.gone.total():
        lines.append(f"note: {counted(gone, 'image')} with an answer {'is' if gone == 1 else 'are'} no longer there")
    return "\n".join([*lines, "Ctrl-C ends it; nothing is lost, and the same command carries on"])


def _counted(counts: Counter[str]) -> str:
    names = {"label": "labelled", "none": "none of the classes", "unsure": "unsure", "skip": "skipped"}
    return ", ".join(f"{counts[kind]:,} {name}" for kind, name in names.items() if counts[kind]) or "nothing labelled"


def _guess(work: Session, trained: str, where: str, opened: Members | None) -> None:
    """Predicts the images in the background, while the page is in use."""
    try:
        members = opened or guesses.opened(trained, where)
    except Exception as error:  # the page goes on without guesses, and says why
        work.notice, work.loading = f"No guesses: {' '.join(str(error).split())}", False
        log(f"no guesses: {error}")
        return
    if unknown := [name for name in members.classes if name not in work.store.answers.classes]:
        work.notice = f"The model also knows classes that are not here: {few(unknown, 3)}."
    reviewing = work.review is not None
    choose = None if reviewing or members.thresholds else uncertainty_coverage
    predictor = Guesses(members, work.images, work.queue, choose)
    work.guesses = predictor
    labels = work.labels() if reviewing else {}

    def finished() -> None:
        if reviewing:
            work.review = predictor.disagreements(labels)
            work.loading = False

    threading.Thread(target=predictor.follow, args=(work.done,), daemon=True).start()
    predictor.predict([*labels], finished)
    work.loading = False


def _ended(work: Session, images: str, out: str) -> str:
    """Returns what was done, and the command that comes next."""
    answers = work.store.answers
    lines = [f"{counted(work.answered, 'answer')} in this session; in {out}: {_counted(answers.counts)}"]
    if answers.counts["label"]:
        labelled = answers.counts["label"]
        workdir = f"runs/{Path(images).resolve().name}_{labelled}"  # of each round its own
        command = [*PROGRAM.split(), "train", f"--images={images}", f"--labels={out}", f"--workdir={workdir}"]
        lines.append(f"next: {shlex.join(command)}")
    return "\n".join(lines)
