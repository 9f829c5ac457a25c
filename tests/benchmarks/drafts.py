"""JPEGs decoded at a reduced scale (`draft`) beside whole ones: differences in levels, and core seconds.

    python -m tests.benchmarks.drafts FOLDER [SIDE] >> tests/benchmarks/drafts.jsonl

The photographs below FOLDER are cut from the middle and resized (bicubic) to 32, 64, 96, 128 and 224 pixels, with
`draft` and without; those that it does not reduce are left out. With SIDE they are first stored anew, with a shorter
side of so many pixels, quality 90.
"""

import io
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from efficient_jax.data import stored_image
from efficient_jax.data.framing import Framing, reduced

SIZES, REPEATS, MOST = (32, 64, 96, 128, 224), 3, 96


def stored(file: Path, side: int) -> bytes:
    if not side:
        return file.read_bytes()
    image, content = Image.open(file).convert("RGB"), io.BytesIO()
    scale = side / min(image.size)
    image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS).save(
        content, "jpeg", quality=90
    )
    return content.getvalue()


def decoded(content: bytes, size: int, draft: bool) -> tuple[np.ndarray, int]:
    """The square, and the scale at which the image is decoded."""
    framing = Framing(size, draft=draft)
    scale = reduced(Image.open(io.BytesIO(content)), framing) if draft else 1
    return stored_image.frame(content, framing, (size, size, 3)).image, scale


def core_seconds(contents: list[bytes], framing: Framing) -> float:
    start = time.process_time()
    for content in contents:
        stored_image.frame(content, framing, (framing.size, framing.size, 3))
    return (time.process_time() - start) / len(contents)


def main(folder: str, side: int) -> None:
    files = sorted(file for file in Path(folder).rglob("*.jpg"))
    contents = [stored(file, side) for file in files[:: -(-len(files) // MOST)]]
    for size in SIZES:
        drafts = [(content, *decoded(content, size, True)) for content in contents]
        if not (drafts := [(content, square, scale) for content, square, scale in drafts if scale > 1]):
            continue
        reduced_contents = [content for content, *_ in drafts]
        errors = np.array([decoded(content, size, False)[0].astype(int) - square for content, square, _ in drafts])
        means = np.abs(errors).mean((1, 2, 3))
        seconds = np.array(
            [
                [core_seconds(reduced_contents, Framing(size, draft=draft)) for draft in (False, True)]
                for _ in range(REPEATS)
            ]
        )
        record = {"side": side, "size": size, "images": len(contents), "reduced": len(drafts)}
        record |= {"scale": statistics.median(scale for *_, scale in drafts), "mean": round(means.mean(), 3)}
        record |= {"worst_mean": round(means.max(), 3), "most": int(np.abs(errors).max())}
        record |= {"psnr": round(10 * np.log10(255**2 / (errors**2).mean()), 1)}
        record |= dict(zip(("whole_ms", "draft_ms"), np.median(1e3 * seconds, 0).round(2).tolist(), strict=True))
        record |= {"faster": round(float(np.median(seconds[:, 0] / seconds[:, 1])), 2)}
        print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if sys.argv[2:] else 0)
