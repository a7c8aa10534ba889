"""A drawing of the network: a silhouette of its widths, from the input at the top to the output, and the layers that
are cut together."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.frame import TEXT_HEIGHT, figure, segments
from dashboard.charts.grouping import blocks
from dashboard.charts.marks import CUT, FROZEN, GREY, KEPT, SERIES
from dashboard.charts.network_measures import Wing, bars_of, label, measures
from dashboard.charts.tables import counted, percent, require, rows_of, short_layer

LAYERS = ["layer", "kind", "before", "after", "parameters", "parameters_after", "macs", "macs_after", "k", "k_after",
          "frozen", "inside"]  # fmt: skip
COLOURS = SERIES[1:-1]  # of groups: neither the colour of kept neurons nor grey
SCREEN, MAX_ROW, MIN_ROW = 640, 30, 5  # pixels: preferred height of all rows, and limits of one row
WRITTEN = 11  # minimum height in pixels of a row with a written width
LANE, SILHOUETTE, WINGS, LETTER, SHARE = 7, 40, 44, 3, 13  # widths of columns, of a letter, and of a share as text
BADGE = 15  # pixels
MAX_NAMED = 5  # layers of a group that the hover text names


def network_drawing(layers: pd.DataFrame, groups: pd.DataFrame, whole_ms: float = 0.0) -> go.Figure:
    """The shape of the network, one row per layer in depth order, the input at the top.

    layers: LAYERS, one row per layer. before and after: neurons (0 for parts without neurons). k: neurons per maxout
    unit (0 without units). frozen: the reason or "". inside: how many neurons are removed at a time, or "".
    groups: group (1, 2, ...), layer; may be empty.

    The length of a bar is the square root of the layer's width. On the left, a numbered line joins the layers of a
    group. On the right are the shares of parameters and MACs. With many layers, only blocks of layers are named.

    whole_ms: the milliseconds of a pass. If given, the shares of time take the place of the MACs. layers then has ms
    (of the layer) and after_ms (of what follows it up to the next one, in a paler colour), empty where not measured.
    """
    layers = require(layers, "layers", [*LAYERS, *(["ms", "after_ms"] if whole_ms else [])])
    if (layers.after > layers.before).any():
        grown = ", ".join(layers.layer[layers.after > layers.before])
        raise ValueError(f"widths grow in {grown}; needed: `after` at most `before`")
    if missing := set(groups.layer) - set(layers.layer):
        raise ValueError(f"groups name layers that are not drawn: {', '.join(sorted(missing))}")
    height = min(MAX_ROW, max(MIN_ROW, SCREEN // len(layers)))
    members = groups.assign(row=groups.layer.map(pd.Series(layers.index, layers.layer)))
    lines = _lanes(members)
    centre = LANE * (1 + max(lines.lane, default=-1)) + SILHOUETTE / 2
    runs = _runs(layers.layer.tolist(), height)
    rows, texts = _widths(layers, runs, height)
    wings = measures(layers, whole_ms)
    left, right = (wing.before.max() for wing in wings)
    scale = WINGS / max(left + right, 0.01)
    axis = centre + SILHOUETTE / 2 + LETTER * max(map(len, texts)) + SHARE + scale * left
    hatched = dict(shape=CUT.pattern if height >= WRITTEN else "", fillmode="replace", size=6)  # unclear in low rows
    traces = [
        *_silhouette(layers, centre, _hover_texts(layers, groups, whole_ms), hatched),
        *bars_of(wings[0], axis, -scale, hatched), *bars_of(wings[1], axis, scale, hatched),
        *_group_marks(members, lines), label([centre + SILHOUETTE / 2 + 1] * len(rows), rows, texts, "right"),
    ]  # fmt: skip
    heads = [
        dict(text=text, x=x, xanchor=anchor, xshift=shift, y=1, yref="paper", yanchor="bottom", showarrow=False)
        for text, x, anchor, shift in [("<b>width</b>", centre, "center", 0),
                                       (f"<b>{wings[0].head}</b>", axis, "right", -5),
                                       (f"<b>{wings[1].head}</b>", axis, "left", 5)]
    ]  # fmt: skip
    return figure(
        traces, _alt(layers, groups, wings[1]), 70 + height * len(layers), barmode="overlay", hovermode="y",
        annotations=heads, xaxis=dict(range=[-4, axis + scale * right + SHARE], visible=False, fixedrange=True),
        yaxis=dict(tickvals=[(first + last) / 2 for _, first, last in runs],
                   ticktext=[short_layer(name) for name, _, _ in runs], tickfont_size=11 if height < 16 else 12,
                   range=[len(layers) - 0.4, -0.6], ticks="", showgrid=False, zeroline=False, automargin=True,
                   fixedrange=True),
        margin=dict(t=62), legend=dict(xref="container", x=0),  # leaves room for the button on a narrow screen
    )  # fmt: skip


def _silhouette(
    layers: pd.DataFrame, centre: float, hover_texts: list[str], hatched: dict[str, Any]
) -> list[go.Bar]:
    """Bars around the centre. The removed part of the width shows on both sides of the kept part."""
    most = np.sqrt(max(layers.before.max(), 1))
    before, after = (SILHOUETTE * np.sqrt(column) / most for column in (layers.before, layers.after))
    held, gone = layers.frozen.ne(""), layers.after < layers.before

    def bars(
        length: pd.Series, rows: pd.Series, name: str, colour: str, pattern: dict[str, Any] | None = None,
        rank: int = 1000, shown: bool = True,
    ) -> go.Bar:
        return go.Bar(
            x=length[rows], base=centre - length[rows] / 2, y=layers.index[rows], orientation="h", width=0.8,
            marker=dict(color=colour, line_width=0, pattern=pattern), name=name, legendrank=rank,
            hoverinfo="skip", showlegend=shown and bool(rows.any()),
        )  # fmt: skip

    frozen = dict(shape=FROZEN.pattern, fgcolor=KEPT.colour, fgopacity=1, fillmode="overlay", size=5)
    return [
        go.Bar(x=[0] * len(layers), base=centre, y=layers.index, orientation="h", showlegend=False,
               hovertext=hover_texts, hoverinfo="text", marker_color=GREY),  # hover texts without the row's number
        bars(before, gone, "removed", CUT.colour, hatched),
        bars(after, ~held, "kept", KEPT.colour, rank=1, shown=bool(gone.any())),
        bars(after, held, "frozen", FROZEN.colour, frozen),
    ]  # fmt: skip


def _lanes(members: pd.DataFrame) -> pd.DataFrame:
    """The line of each group: group, first, last (rows), lane. Lines that overlap are in different lanes."""
    lines = members.groupby("group").agg(first=("row", "min"), last=("row", "max")).sort_values("first").reset_index()
    ends: list[int] = []  # per lane, the row where its last line ends
    lanes = []
    for line in rows_of(lines):
        lane = next((lane for lane, end in enumerate(ends) if end < line.first), len(ends))
        ends[lane : lane + 1] = [line.last]
        lanes.append(lane)
    return lines.assign(lane=lanes)


def _group_marks(members: pd.DataFrame, lines: pd.DataFrame) -> list[go.Scatter]:
    """For each group, a line, a dot at each of its layers, and its number at the first layer."""
    if members.empty:
        return []
    colours = lines.assign(
        x=LANE * (lines.lane + 0.5), colour=[COLOURS[(group - 1) % len(COLOURS)] for group in lines.group]
    ).set_index("group")
    traces = [
        go.Scatter(x=segments(own.x, own.x), y=segments(own["first"], own["last"]), mode="lines", hoverinfo="skip",
                   line=dict(color=colour, width=2), showlegend=False)
        for colour, own in colours.groupby("colour", sort=False)
    ]  # fmt: skip
    later = members[members.group.duplicated()]
    traces.append(go.Scatter(
        x=later.group.map(colours.x), y=later.row, mode="markers", hoverinfo="skip", name="cut together",
        marker=dict(color=later.group.map(colours.colour), size=7, opacity=1),
    ))  # fmt: skip
    traces.append(go.Scatter(
        x=colours.x, y=colours["first"], mode="markers+text", text=[f"<b>{group}</b>" for group in colours.index],
        marker=dict(color=colours.colour, size=BADGE, opacity=1), textfont=dict(color="white", size=9),
        textposition="middle center", hoverinfo="skip", showlegend=False, cliponaxis=False,
    ))  # fmt: skip
    return traces


def _runs(names: Sequence[str], height: int) -> list[tuple[str, int, int]]:
    """The labels on the left, as (name, first row, last row): each layer or, if rows are low, blocks of layers. A label
    that would overlap the previous one is left out."""
    rows = blocks(names, max(1, height * len(names) // TEXT_HEIGHT))
    found = [(name, [row for row, _ in run]) for name, run in groupby(enumerate(rows), key=lambda pair: pair[1])]
    runs = [(name, own[0], own[-1]) for name, own in found]
    kept: list[tuple[str, int, int]] = []
    for run in runs:
        if not kept or height * (run[1] + run[2] - kept[-1][1] - kept[-1][2]) / 2 >= MIN_ROW * 2:
            kept.append(run)
    return kept


def _widths(layers: pd.DataFrame, runs: list[tuple[str, int, int]], height: int) -> tuple[list[float], list[str]]:
    """Rows and texts: the neurons of each layer before and after. If rows are low, the narrowest and widest layer of
    each block, and the share of neurons that is removed."""
    if height >= WRITTEN:
        return layers.index.tolist(), [_width(layer) for layer in rows_of(layers)]
    return [(first + last) / 2 for _, first, last in runs], [_range(layers.loc[a:b]) for _, a, b in runs]


def _width(layer: Any) -> str:
    """A layer's neurons, or units × neurons per unit: "500", "500 → 126", "125×4 → 125×2", "—" without neurons."""
    was, now = _units(layer.before, layer.k), _units(layer.after, layer.k_after)
    return "—" if not layer.before else was if was == now else f"{was} → {now}"


def _units(width: int, k: int) -> str:
    return f"{width // k:,}×{k}" if k > 1 else f"{width:,}"


def _range(block: pd.DataFrame) -> str:
    own = block[block.before > 0]
    if own.empty:
        return "—"
    least, most, left = own.before.min(), own.before.max(), own.after.sum() / own.before.sum()
    text = f"{most:,}" if least == most else f"{least:,}–{most:,}"
    return text if left == 1 else f"{text}, −{percent(1 - left)}"


def _hover_texts(layers: pd.DataFrame, groups: pd.DataFrame, whole_ms: float) -> list[str]:
    """The hover text of each layer."""
    sums = {name: max(layers[name].sum(), 1) for name in ("parameters", "macs")}
    number = dict(zip(groups.layer, groups.group, strict=True))
    together = groups.groupby("group").layer.agg(list)
    texts = []
    for layer in rows_of(layers):
        neurons = f", {_width(layer)} {'units' if layer.k > 1 else 'neurons'}" if layer.before else ", without neurons"
        lines = [f"<b>{layer.layer}</b> · {layer.kind}{neurons}"]
        lines += [
            f"{was:,}{f' → {now:,}' if now < was else ''} {name}, {percent(was / total)} of all"
            for was, now, name, total in [(layer.parameters, layer.parameters_after, "parameters", sums["parameters"]),
                                          (layer.macs, layer.macs_after, "MACs", sums["macs"])]
        ]  # fmt: skip
        if whole_ms and pd.notna(layer.ms):
            share = percent((layer.ms + layer.after_ms) / whole_ms)
            lines.append(f"{layer.ms:.3g} ms, {layer.after_ms:.3g} ms for what follows, {share} of all")
        lines += [f"neurons are removed {layer.inside}"] * bool(layer.inside)
        lines += [f"units of {layer.k} neurons"] * (layer.k > 1)
        if group := number.get(layer.layer):
            others = [name for name in together[group] if name != layer.layer]
            rest = [f"{len(others) - MAX_NAMED} more"] * (len(others) > MAX_NAMED)
            lines.append(f"group {group}: cut together with<br>   {'<br>   '.join(others[:MAX_NAMED] + rest)}")
        lines += [f"frozen: {layer.frozen}"] * bool(layer.frozen)
        texts.append("<br>".join(lines))
    return texts


def _alt(layers: pd.DataFrame, groups: pd.DataFrame, right: Wing) -> str:
    widest, held = layers.before.argmax(), int(layers.frozen.ne("").sum())
    before, after = layers.before.sum(), layers.after.sum()
    text = (
        f"{counted(len(layers), 'layer')} from input to output, the widest is {layers.layer.iloc[widest]} with "
        f"{counted(layers.before.iloc[widest], 'neuron')}; {held} frozen"
    )
    if after < before:
        text += f"; {before - after:,} of {before:,} neurons are removed"
    if right.head == "time":
        text += f"; {layers.layer.iloc[right.before.argmax()]} takes {percent(right.before.max())} of the time"
    if groups.empty:
        return f"{text}; every layer is cut on its own."
    sizes = groups.groupby("group").size()
    most = groups[groups.group == sizes.idxmax()].layer.tolist()
    return (f"{text}; {counted(len(sizes), 'group')} of layers that are cut together, the largest with {len(most)} "
            f"layers, from {most[0]} to {most[-1]}.")  # fmt: skip
