"""Read and write specs as TOML. A spec is validated completely before anything starts; every error is one line."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import tomli_w
from pydantic import BaseModel, ValidationError

from trimcore.errors import SpecError, shortened
from trimcore.spec.spec import Spec
from trimcore.spec.sweep import with_settings
from trimcore.system.files import open_regular

MAX_CHARACTERS = 1_000_000  # of a spec file


@dataclass(frozen=True)
class Point:
    """One run of a sweep: its settings by their dotted keys, and its spec."""

    settings: dict[str, Any]
    spec: Spec


def parse(values: dict[str, Any]) -> Spec:
    """Validate a spec, and each point of its sweep as a whole. Raises SpecError for the first problem, with the key,
    the value and what would be right."""
    checked = _checked(values)
    _points(values, checked)
    return checked


def points(values: dict[str, Any]) -> list[Point]:
    """The runs of a sweep, from the values of a spec with [sweep]. Raises SpecError."""
    found = _points(values, _checked(values))
    if not found:
        raise SpecError("the spec has no [sweep]")
    return found


def _points(values: dict[str, Any], checked: Spec) -> list[Point]:
    found = []
    for settings in checked.sweep.points() if checked.sweep else []:
        try:
            found.append(Point(settings, _checked(with_settings(values, settings))))
        except SpecError as error:
            place = ", ".join(f"{key} = {value!r}" for key, value in settings.items())
            raise SpecError(shortened(f"sweep, {place}: {error}")) from None
    return found


def _checked(values: dict[str, Any]) -> Spec:
    try:
        return Spec.model_validate(values)
    except ValidationError as error:
        raise SpecError(shortened(_one_line(error))) from None


def loads(text: str) -> Spec:
    """Parse a spec from TOML text. Raises SpecError."""
    return parse(_values(text))


def load(path: str | Path) -> Spec:
    """Read a spec file. Raises SpecError if it is unreadable or invalid."""
    return parse(read(path))


def read(path: str | Path) -> dict[str, Any]:
    """The values in a spec file, unchecked. Raises SpecError if it is unreadable or not TOML."""
    try:
        with open_regular(path, "r", encoding="utf-8") as file:
            text = file.read(MAX_CHARACTERS + 1)
        if len(text) > MAX_CHARACTERS:
            raise SpecError(f"the spec {str(path)!r} is too long: the limit is {MAX_CHARACTERS:,} characters")
        return _values(text)
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"cannot read the spec {str(path)!r}: {_reason(error)}") from None


def _values(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits and deeply nested arrays
        raise SpecError(f"the spec is not valid TOML: {shortened(str(error))}") from None


def dumps(spec: Spec) -> str:
    """The spec as TOML, with all defaults written out."""
    return tomli_w.dumps(spec.model_dump(exclude_none=True))


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or "it is not UTF-8 text"


def _one_line(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"]) or "spec"
    if first["type"] == "extra_forbidden":
        known = _valid_keys(first["loc"])
        return f"unknown key {key!r}; expected one of {', '.join(known)}"
    key = repr(key)[1:-1]  # a layer name may contain a line break
    if cause := first.get("ctx", {}).get("error"):
        return f"{key}: {cause}"
    value = repr(first["input"])
    return f"{key} = {value if len(value) <= 60 else value[:57] + '...'}: {first['msg'].lower()}"


def _valid_keys(location: tuple[int | str, ...]) -> list[str]:
    """The valid keys of the section that contains a key. List indices and layer names in the location are followed."""
    section: type[BaseModel] = Spec
    for part in location[:-1]:
        field = section.model_fields.get(str(part))
        section = (field and _section_in(field.annotation)) or section
    return list(section.model_fields)


def _section_in(annotation: Any) -> type[BaseModel] | None:
    """The section class in an annotation such as `list[Step]` or `Parent | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _section_in(part))), None)
