"""`label --review=RUN` of masks and boxes: each annotation beside the prediction, and whether it is right."""

import threading
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from efficient_jax.commands import label_server
from efficient_jax.distributed import log
from efficient_jax.errors import UserError, counted
from efficient_jax.experiment.dataset import Data
from efficient_jax.labelling import session
from efficient_jax.labelling.annotations import CHUNK, CLASSES, VIEWS, Annotated
from efficient_jax.labelling.images import compressed, shrunk
from efficient_jax.labelling.queue import Queue
from efficient_jax.labelling.server import Views
from efficient_jax.labelling.session import Session
from efficient_jax.labelling.store import Store
from efficient_jax.report import overlays
from efficient_jax.training.classifier import network
from efficient_jax.training.trained import Trained

WHERE = "--review"
PIXELS = 64  # side up to which the pixels of an image stay squares


def review(name: str, out: str, who: str, port: int) -> None:
    """Serves a page on which the annotations of a run are reviewed; Ctrl-C ends it.

    Args:
        name: RUN or RUN/STAGE, which predicts masks or boxes.
        out: table of the answers, .csv.
        who: who answers.
        port: of this machine; 0: a free one.

    Raises: UserError for more than one stage, for a run without annotated files, and where the page cannot be served.
    """
    if "," in name:
        raise UserError(f"{WHERE}: masks and boxes are reviewed with one stage, got {name!r}; give the best of them")
    trained = Trained.open(name, WHERE)
    assert trained.folder
    annotated = Annotated.of_run(Data.reopen(trained.folder.parent, WHERE, log), trained.spec, WHERE)
    names = annotated.images.names
    store = Store(Path(out), False, set(names))
    session.start(store, CLASSES, who)
    work = Session(annotated.images, store, Queue(range(len(names))), who, True, annotated)
    legend = overlays.legend(annotated.task.entries(annotated.labels[:1]), annotated.classes)
    serving = label_server.listening(
        work, port, Views({view: partial(drawn, annotated, view) for view in VIEWS}, legend)
    )
    log(f"label at {serving.address}\n{counted(len(names), 'image')} of {name!r}, most suspect annotations first")
    log(f"answers: {store.table}, with who said what and when in {store.log}")
    stopped = threading.Event()
    work.loading = True
    threading.Thread(target=_predict, args=(work, annotated, trained, stopped), daemon=True).start()
    label_server.serve(serving)
    stopped.set()
    log(f"\n{_ended(work, out)}")


def _predict(work: Session, annotated: Annotated, trained: Trained, stopped: threading.Event) -> None:
    """Predicts the images in the background, and orders those without an answer."""
    try:
        predict = network(trained, CHUNK).predict
        annotated.predict(lambda images: predict(images)[0], stopped)
    except Exception as error:  # the page stays, and says why
        work.notice = f"Nothing to review: {' '.join(str(error).split())}"
        log(work.notice)
    answered = {file for file, outcome in work.store.answers.outcomes.items() if outcome.kind != "skip"}
    work.review = annotated.order(answered)
    work.loading = False


def drawn(annotated: Annotated, view: str, index: int, side: int) -> tuple[bytes, str]:
    """Returns (an image with its annotation or prediction as a file for a browser, its media type).

    Args:
        annotated: the images.
        view: a name of `labelling.annotations.VIEWS`.
        index: of the image.
        side: longest side of all views together in pixels at most. Smaller images are enlarged to their part of it:
            lines of boxes are then as thick as they look.

    Raises: any exception, as decoders do for damaged files.
    """
    limit = side // len(VIEWS)
    shown = shrunk(annotated.images.file(index), limit)
    times = limit // max(shown.size)
    if times > 1:
        how = Image.Resampling.NEAREST if max(shown.size) <= PIXELS else Image.Resampling.BICUBIC
        shown = shown.resize((times * shown.width, times * shown.height), how)
    entries = annotated.entries(index, view, *shown.size)
    pixels = overlays.drawn(np.asarray(shown), entries, annotated.classes)
    return compressed(Image.fromarray(np.ascontiguousarray(pixels)))


def _ended(work: Session, out: str) -> str:
    """Returns what was answered."""
    outcomes = work.store.answers.outcomes.values()
    said = Counter(outcome.labels[0] if outcome.labels else outcome.kind for outcome in outcomes)
    found = ", ".join(f"{said[kind]:,} {kind}" for kind in (*CLASSES, "unsure") if said[kind]) or "nothing"
    lines = [f"{counted(work.answered, 'answer')} in this session; in {out}: {found}"]
    if said["wrong"]:
        lines.append(f"mend the annotations whose label in {out} is wrong, and train again")
    return "\n".join(lines)
