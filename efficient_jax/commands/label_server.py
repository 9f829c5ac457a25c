"""The page of `label`: listening at a port, and serving until Ctrl-C."""

import contextlib
import warnings

from efficient_jax.errors import UserError
from efficient_jax.labelling import server
from efficient_jax.labelling.session import Session


def listening(work: Session, port: int, views: server.Views = server.IMAGE_ALONE) -> server.Server:
    """Returns a server that listens.

    Args:
        work: what is asked.
        port: of this machine; 0: a free one.
        views: what is shown of an image.

    Raises: UserError where the port is taken.
    """
    try:
        return server.serve(work, port, views)
    except (OSError, OverflowError) as error:
        raise UserError(f"--port: cannot listen at {port} ({error}); leave it out for a free one") from error


def serve(serving: server.Server) -> None:
    """Answers the page until Ctrl-C.

    Args:
        serving: a server that listens.
    """
    with contextlib.suppress(KeyboardInterrupt), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of images that are shown all the same
        serving.serve_forever(poll_interval=0.1)
    serving.server_close()
