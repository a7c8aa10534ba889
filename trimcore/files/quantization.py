"""Write an ONNX file with 8-bit integers: post-training static quantization by ONNX Runtime's own tools.

The ranges of the activations are those seen on calibration images. They are uint8, because kernels for signed ones are
three times slower on x86. Weights are int8 with a scale for each channel, of which seven bits are used: the products of
eight bits overflow on processors without VNNI.
"""

import logging
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves

from trimcore.errors import TrimError, first_line
from trimcore.files.onnx_file import need

PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def quantize(path: Path, out: Path, images: Iterable[Tensor]) -> None:
    """Quantize the float ONNX file `path`, with one input, to `out`, in QDQ format. Operations that have no integer
    form stay in float.

    images: calibration batches (B, C, H, W) float32, normalised as the network expects them. Raises TrimError for a
    missing package, a damaged file, a network of which nothing can be quantized, and no images.
    """
    need(*PACKAGES)
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with _quiet(), tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        try:
            quant_pre_process(str(path), str(prepared))
            reader = _reader(onnx.load(prepared).graph.input[0].name, images)
            quantization.quantize_static(
                str(prepared), str(out), reader, activation_type=quantization.QuantType.QUInt8, reduce_range=True,
                per_channel=True,
            )  # fmt: skip
            _check_integers(onnx.load(out))
        except (TrimError, OSError):
            raise
        except Exception as error:  # the errors of these tools have no class in common
            raise TrimError(f"this network cannot be quantized to INT8: {first_line(error)}") from error


def check_classifier(example: tuple[Any, ...], outputs: Any) -> None:
    """Raise TrimError unless the network takes one batch of images (B, C, H, W) and returns scores (B, classes)."""
    reason = ""
    if len(example) != 1:
        reason = f"takes {len(example)} inputs"
    elif not isinstance(example[0], Tensor) or not example[0].is_floating_point() or example[0].dim() != 4:
        reason = "does not take images"
    elif len(found := [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)]) != 1:
        reason = f"returns {len(found)} tensors"
    elif found[0].dim() != 2:
        reason = f"returns a tensor of {found[0].dim()} dimensions"
    if reason:
        raise TrimError(f"INT8 needs a classifier that takes images and returns class scores; this network {reason}")


def _reader(name: str, images: Iterable[Tensor]) -> Any:
    """A calibration reader: an object whose method `get_next` returns the inputs of a pass, at last None."""
    from onnxruntime.quantization import CalibrationDataReader

    batches = iter(images)
    first = next(batches, None)
    if first is None:
        raise TrimError("INT8 needs images to calibrate on, and there are none")
    feeds = ({name: batch.numpy()} for batch in chain([first], batches))

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # the package has no types
        def get_next(self) -> dict[str, Any] | None:
            return next(feeds, None)

    return Reader()


def _check_integers(model: Any) -> None:
    """Raise TrimError if no weight has become int8."""
    from onnx import TensorProto

    matrices = (each for each in model.graph.initializer if len(each.dims) > 1)
    if not any(each.data_type == TensorProto.INT8 for each in matrices):
        raise TrimError("this network cannot be quantized to INT8: none of its operations has an integer form")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the advice that ONNX Runtime's tools log."""
    logger = logging.getLogger()
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
