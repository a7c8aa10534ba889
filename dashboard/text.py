"""Names, sizes and durations as the pages show them."""

import re
from collections.abc import Mapping
from datetime import datetime, tzinfo

UNITS = ("bytes", "kB", "MB", "GB", "TB")
MAX_NAMED_LAYERS = 4  # in the text for a step


def plain(text: str) -> str:
    """Escape text that may contain user input, so that it is shown literally and not as Markdown."""
    return re.sub(r"([\\`*_{}\[\]()#+\-!|<>$:~])", r"\\\1", text)


def units_text(k: Mapping[str, int]) -> str:
    """The number of neurons per unit of the maxout layers: "3", or "fc6 3, fc7 4" if layers differ."""
    return str(next(iter(k.values()))) if len(set(k.values())) == 1 else ", ".join(f"{n} {i}" for n, i in k.items())


def macs_text(ratio: float) -> str:
    """A MACs ratio in words."""
    return f"{ratio:.2f}× fewer" if ratio > 1.005 else "unchanged"


def size_text(size: float) -> str:
    """`512 bytes`, `1.7 MB`."""
    for unit in UNITS:
        if size < 999.5 or unit == UNITS[-1]:
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "bytes" or size >= 99.5 else f"{size:.1f} {unit}"


def duration(seconds: float | None) -> str:
    """`40 s`, `3 min`, `2 h 10 min`; "" if unknown."""
    if seconds is None:
        return ""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def clock(at: float, now: float, zone: tzinfo | None = None) -> str:
    """A time of day in a zone (None: this machine's), with the date unless it is today's: `14:05`, `31 Mar, 14:05`."""
    then, today = (datetime.fromtimestamp(seconds, zone) for seconds in (at, now))
    return f"{then:%H:%M}" if then.date() == today.date() else f"{then.day} {then:%b, %H:%M}"


def layers_text(layers: list[str]) -> str:
    """The layers of a step: their names, or the first and the last if there are many."""
    if layers == ["all"]:
        return "all layers"
    return ", ".join(layers) if len(layers) <= MAX_NAMED_LAYERS else f"{len(layers)} layers: {layers[0]} … {layers[-1]}"
