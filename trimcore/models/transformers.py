"""Image classifiers that Hugging Face's package transformers saved to a folder, named `hf:FOLDER`."""

import importlib
import json
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from trimcore.errors import SpecError, first_line
from trimcore.models.architecture import Architecture

PREFIX = "hf:"
HALF = [0.5] * 3


def architecture(name: str) -> Architecture:
    """The entry of a saved image classifier. Code in the folder is never run.

    Its `pretrained` weights are those in the folder. Image size and normalisation are those in its files. Raises
    SpecError without the package, and for a folder that does not hold such a network.
    """
    folder = Path(name.removeprefix(PREFIX)).expanduser()
    config = _config(name, folder)
    size = config.image_size if type(getattr(config, "image_size", None)) is int else None
    return Architecture(
        name,
        f"{config.model_type}, saved by transformers",
        partial(_build, name, folder, size is not None),
        channels=getattr(config, "num_channels", 3),
        image_size=size,
        normalize=_normalisation(folder, getattr(config, "num_channels", 3)),
        pretrained=partial(_pretrained, folder),
    )


def _config(name: str, folder: Path, **changes: Any) -> Any:
    transformers = _transformers()
    if not (folder / "config.json").is_file():
        raise SpecError(
            f"model {name!r}: there is no config.json in {str(folder)!r}; use the folder of save_pretrained"
        )
    try:
        return transformers.AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, **changes
        )
    except Exception as error:  # the validators of its fields raise errors of several packages
        raise SpecError(f"model {name!r}: its config.json cannot be used: {first_line(error)}") from error


def _build(name: str, folder: Path, sized: bool, num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    size = {"image_size": image_size} if sized else {}
    config = _config(name, folder, num_channels=in_channels, **size)
    config.num_labels = num_classes
    try:
        network: nn.Module = _transformers().AutoModelForImageClassification.from_config(config)
    except Exception as error:  # not an image classifier, or one that does not take this size
        raise SpecError(f"model {name!r} cannot be built as an image classifier: {first_line(error)}") from error
    return network


def _pretrained(folder: Path) -> dict[str, Tensor]:
    """Raises OSError if the folder has no weights."""
    classifier = _transformers().AutoModelForImageClassification
    loaded = classifier.from_pretrained(folder, local_files_only=True, trust_remote_code=False, use_safetensors=True)
    state: dict[str, Tensor] = loaded.state_dict()
    return state


def _normalisation(folder: Path, channels: int) -> tuple[list[float], list[float]] | None:
    """What its image processor expects; without one, as most of these networks do. None if it is not for pixels."""
    try:
        values = json.loads((folder / "preprocessor_config.json").read_text("utf-8"))
        mean, std = ([float(value) for value in values.get(key, HALF)] for key in ("image_mean", "image_std"))
    except (OSError, ValueError, TypeError, AttributeError):
        mean, std = HALF, HALF
    return (mean, std) if len(mean) == len(std) == channels and min(std) > 0 else None


def _transformers() -> Any:
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise SpecError(
            f"networks in hf:FOLDER need a package: pip install transformers ({first_line(error)})"
        ) from None
