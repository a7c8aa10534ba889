"""Decode an untrusted image in a separate process with limits on memory and time.

    python -m trimcore.system.image_sandbox SIZE CHANNELS RESIZE < FILE

A picture of a few kilobytes can take gigabytes or minutes to decode, and a decoder in C can crash. That must not happen
in the process that serves the dashboard. The child answers with the pixels, or with one line on stderr.
"""

import io
import os
import subprocess
import sys

import numpy as np
from PIL import UnidentifiedImageError

from trimcore.errors import DataError, first_line, shortened
from trimcore.system.images import decode
from trimcore.system.limits import limit
from trimcore.system.processes import ROOT, python_path

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # none that starts another program, as EPS does
ENDINGS = ("png", "jpg", "jpeg", "webp", "bmp", "gif", "tif", "tiff", "ppm", "pgm")
MAX_BYTES = 20 << 20  # of a file
MEMORY, SECONDS = 1 << 30, 20.0  # bytes, CPU time


def decode_untrusted(content: bytes, name: str, image_size: int, channels: int, resize: str = "crop") -> np.ndarray:
    """The first frame of an image as (image_size, image_size, channels) uint8, as data loading decodes it.

    `name` stands for it in messages. Raises DataError for a file of more than MAX_BYTES, for one that is no readable
    image of FORMATS, and for one that takes more than MEMORY or SECONDS.
    """
    name = shortened(repr(name), 100)
    if len(content) > MAX_BYTES:
        raise DataError(f"{name} is refused: it has more than {MAX_BYTES >> 20} MB")
    command = [sys.executable, "-m", __name__, str(image_size), str(channels), resize]
    environment = os.environ | {"PYTHONPATH": python_path()}
    try:
        done = subprocess.run(command, input=content, capture_output=True, cwd=ROOT, env=environment,
                              timeout=SECONDS + 60, check=False)  # fmt: skip
    except subprocess.TimeoutExpired:
        raise DataError(f"{name} is refused: decoding it takes more than {SECONDS:.0f} seconds") from None
    if done.returncode or len(done.stdout) != image_size * image_size * channels:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["its decoder crashed"]
        raise DataError(f"{name} is not a readable image ({lines[-1]})")
    return np.frombuffer(done.stdout, np.uint8).reshape(image_size, image_size, channels)


# --- in the child process ---


def main(image_size: str, channels: str, resize: str) -> int:
    content = io.BytesIO(sys.stdin.buffer.read(MAX_BYTES + 1))
    limit(MEMORY, SECONDS)
    try:
        pixels = decode(content, int(image_size), int(channels), resize, FORMATS)
    except MemoryError:
        print(f"decoding it takes more than {MEMORY >> 20:,} MB", file=sys.stderr)
        return 1
    except UnidentifiedImageError:
        print(f"it is damaged, or none of {', '.join(FORMATS)}", file=sys.stderr)
        return 1
    except Exception as error:  # noqa: BLE001 (see `decode`)
        print(first_line(error), file=sys.stderr)
        return 1
    sys.stdout.buffer.write(pixels.tobytes())
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
