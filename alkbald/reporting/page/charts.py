"""The charts, in Vega-Lite. Each draws the rows of a table of the page, which it gets by the name `rows`.

Colours are variables of page.css, so that a chart is right in light and dark.
"""

from typing import Any

import altair as alt

from alkbald.reporting.page.comparison import PARTS

#: How many colours page.css has for curves.
COLOURS = 8
_DASHES = [[1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [12, 4]]
_INK, _FAINT, _LINE = "var(--ink)", "var(--muted)", "var(--line)"
_FONT = "system-ui, sans-serif"

CONFIG: dict[str, Any] = {
    "background": "transparent",
    "font": _FONT,
    "view": {"stroke": None},
    "axis": {
        "labelColor": _INK, "titleColor": _INK, "domainColor": _FAINT, "tickColor": _FAINT, "gridColor": _LINE,
        "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal",
    },
    "legend": {
        "labelColor": _INK, "titleColor": _INK, "labelFontSize": 12, "orient": "bottom", "columns": 2, "title": None,
        "labelLimit": 320, "symbolStrokeWidth": 2.5, "rowPadding": 4,
    },
    "text": {"color": _INK},
}  # fmt: skip

Styles = dict[str, tuple[str, list[int]]]


def curve_styles(curves: list[tuple[str, str]]) -> Styles:
    """Of each curve (its label and its method), a colour by method and a dash by its place among the method's."""
    methods = list(dict.fromkeys(method for _, method in curves))
    seen: dict[str, int] = {}
    styles: Styles = {}
    for label, method in dict.fromkeys(curves):
        place = methods.index(method)
        number = seen[method] = seen.get(method, -1) + 1
        styles[label] = (f"var(--c{place % COLOURS})", _DASHES[(number + place // COLOURS) % len(_DASHES)])
    return styles


def _spec(chart: Any, height: int = 220) -> dict[str, Any]:
    sized = chart.properties(width="container", height=height, data=alt.NamedData("rows"))
    return sized.configure(**CONFIG).to_dict()


def _number(field: str, title: str, **scale: Any) -> dict[str, Any]:
    return {"field": field, "type": "quantitative", "title": title, "scale": {"zero": False} | scale}


def _tip(*fields: tuple[str, str, str]) -> list[alt.Tooltip]:
    """Fields with their titles, and formats; an empty format: text."""
    return [
        alt.Tooltip(field=f, title=title, type="quantitative", format=form)
        if form else alt.Tooltip(field=f, title=title, type="nominal")
        for f, title, form in fields
    ]  # fmt: skip


def learning(styles: Styles, *, intervals: bool, trials: bool) -> dict[str, Any]:
    """Accuracy over labels. A click on the legend shows one curve.

    Args:
        styles: of the curves.
        intervals: whether there are intervals.
        trials: whether there are single trials.
    """
    names = list(styles)
    picked = alt.selection_point(fields=["curve"], bind="legend", name="picked")
    domain: dict[str, Any] = {"domain": names, "range": [colour for colour, _ in styles.values()]}
    legend = alt.Legend(symbolType="stroke", symbolSize=500)
    dashes: dict[str, Any] = {"domain": names, "range": [dash for _, dash in styles.values()]}
    base = alt.Chart().encode(
        x=alt.X(**_number("labels", "labels", nice=False)),
        color=alt.Color("curve:N", scale=alt.Scale(**domain), sort=names, legend=legend),
        opacity=alt.condition(picked, alt.value(1), alt.value(0.08)),
    )
    accuracy = alt.Y(**_number("accuracy", "test accuracy"))
    mean, trial = "datum.trial === 'mean'", "datum.trial !== 'mean'"
    band = base.mark_area(fillOpacity=0.15 if len(styles) < 5 else 0.06).encode(
        y=alt.Y(**_number("low", "test accuracy")), y2="high"
    )
    band = band.transform_filter(f"{mean} && isValid(datum.low)")
    lines = base.mark_line(strokeWidth=2).encode(
        y=accuracy, strokeDash=alt.StrokeDash("curve:N", scale=alt.Scale(**dashes), sort=names, legend=legend)
    )
    single = base.mark_line(strokeWidth=0.8).encode(y=accuracy, detail="trial:N").transform_filter(trial)
    tip = _tip(
        ("curve", "curve", ""),
        ("labels", "labels", ""),
        ("accuracy", "accuracy", ".3f"),
        ("low", "low", ".3f"),
        ("high", "high", ".3f"),
        ("trial", "trial", ""),
        ("trials", "trials", ""),
    )
    points = base.mark_point(size=50, filled=True).encode(y=accuracy, tooltip=tip)
    points = points.encode(opacity=alt.value(0))  # to be hovered
    return _spec(
        alt.layer(*[band] * intervals, *[single] * trials, lines.transform_filter(mean), points).add_params(picked), 340
    )


def differences(count: int, *, intervals: bool) -> dict[str, Any]:
    """The leader less each other curve: mean, and interval where there is one to show."""
    y = alt.Y("curve:N", sort=None, title=None, axis=alt.Axis(labelLimit=150))
    tip = _tip(
        ("curve", "less", ""),
        ("mean", "difference", "+.4f"),
        ("low", "low", "+.4f"),
        ("high", "high", "+.4f"),
        ("seeds", "common seeds", ""),
        ("verdict", "it is", ""),
    )
    base = alt.Chart().encode(y=y, tooltip=tip)
    colour = alt.Color(
        "verdict:N",
        scale=alt.Scale(
            domain=["better", "not told apart", "worse", "too few seeds"],
            range=["var(--c2)", "var(--c0)", "var(--c1)", _FAINT],
        ),
    )
    x = _number("mean", "difference in mean accuracy")
    bar = base.mark_rule(strokeWidth=3).encode(x=alt.X(**(x | {"field": "low"})), x2="high", color=colour)
    # Of two seeds, an interval can be wider than all else there is to see.
    bar = bar.transform_filter("isValid(datum.low) && datum.seeds > 2")
    point = base.mark_point(filled=True, size=70, opacity=1).encode(x=alt.X(**x), color=colour)
    zero = alt.Chart().mark_rule(strokeDash=[4, 3], stroke=_INK).encode(x=alt.datum(0))
    return _spec(alt.layer(zero, *[bar] * intervals, point), 30 + 24 * count)


def _parts(x: alt.X | None, y: alt.Y | None, first: str) -> alt.Chart:
    """Stacked seconds by part; `first` is the field that tells bars apart."""
    colours = [f"var(--c{number})" for number in range(len(PARTS))]
    calculate = " : ".join(f"datum.part === '{part}' ? '{title}'" for part, title in PARTS.items()) + " : ''"
    order = " : ".join(f"datum.part === '{part}' ? {n}" for n, part in enumerate(PARTS)) + " : 9"
    chart = alt.Chart().mark_bar().transform_fold(list(PARTS), as_=["part", "seconds"])
    chart = chart.transform_calculate(title=calculate, order=order).transform_filter("datum.seconds > 0")
    bars = {"x": x} if x else {"y": y}
    return chart.encode(
        **bars,
        color=alt.Color("title:N", scale=alt.Scale(domain=list(PARTS.values()), range=colours)),
        order="order:Q",
        tooltip=_tip((first, first, ""), ("title", "part", ""), ("seconds", "seconds", ".3g")),
    )


def seconds_by_curve(count: int) -> dict[str, Any]:
    """Median seconds of a round's parts."""
    chart = _parts(None, alt.Y("curve:N", sort=None, title=None, axis=alt.Axis(labelLimit=150)), "curve")
    axis = alt.Axis(labelOverlap="greedy", labelSeparation=8)
    x = alt.X("seconds:Q", title="seconds a round", stack="zero", axis=axis)
    return _spec(chart.encode(x=x), 30 + 24 * count)


def of_runs() -> dict[str, dict[str, Any]]:
    """The charts of a single run, by their names."""
    labels = alt.X(**_number("labels", "labels", nice=False))
    bars = _parts(alt.X("round:O", title="round", axis=alt.Axis(labelOverlap=True)), None, "round")
    seconds = bars.encode(y=alt.Y("seconds:Q", title="seconds", stack="zero"))
    ece, reliability = _calibration(labels)
    made = {"seconds": seconds, "information": _information(labels), "ece": ece, "reliability": reliability}
    return {name: _spec(chart) for name, chart in (made | {"classes": _classes()}).items()}


def _information(labels: alt.X) -> Any:
    """What batches are worth, beside log K and total correlation."""
    names = {"information": "joint mutual information", "log_k": "log K", "correlation": "total correlation"}
    calculate = " : ".join(f"datum.what === '{key}' ? '{title}'" for key, title in names.items()) + " : ''"
    colour = alt.Color(
        "title:N",
        scale=alt.Scale(domain=list(names.values()), range=["var(--c0)", _INK, "var(--c1)"]),
        legend=alt.Legend(symbolType="stroke", symbolSize=500),
    )
    dash = alt.StrokeDash(
        "title:N",
        scale=alt.Scale(domain=list(names.values()), range=[[1, 0], [4, 3], [1, 0]]),
        legend=alt.Legend(symbolType="stroke", symbolSize=500),
    )
    folded = alt.Chart().transform_fold(list(names), as_=["what", "nats"]).transform_calculate(title=calculate)
    folded = folded.transform_filter("isValid(datum.nats)").encode(
        x=labels, y=alt.Y(**_number("nats", "nats", zero=True)), color=colour,
        tooltip=_tip(("title", "what", ""), ("labels", "labels", ""), ("nats", "nats", ".3f")),
    )  # fmt: skip
    return alt.layer(folded.mark_line().encode(strokeDash=dash), folded.mark_point(size=50, opacity=0, filled=True))


def _calibration(labels: alt.X) -> tuple[Any, Any]:
    """The expected calibration error over labels, and the reliability curve of a round."""
    ece = alt.Chart().mark_line(point=True, color="var(--c0)").transform_filter("isValid(datum.ece)").encode(
        x=labels, y=alt.Y(**_number("ece", "ECE", zero=True)),
        tooltip=_tip(("labels", "labels", ""), ("ece", "ECE", ".4f"), ("nll", "NLL", ".4f")),
    )  # fmt: skip
    ideal = (
        alt.Chart()
        .mark_rule(strokeDash=[4, 3], stroke=_INK)
        .encode(
            x=alt.datum(0, type="quantitative"), x2=alt.datum(1), y=alt.datum(0, type="quantitative"), y2=alt.datum(1)
        )
    )
    unit = {"domain": [0, 1]}
    curve = (
        alt.Chart()
        .mark_line(point=alt.OverlayMarkDef(size=60, color="var(--c0)"), color="var(--c0)")
        .encode(
            x=alt.X(**_number("confidence", "mean confidence", **unit)),
            y=alt.Y(**_number("accuracy", "accuracy", **unit)),
            tooltip=_tip(
                ("confidence", "confidence", ".3f"), ("accuracy", "accuracy", ".3f"), ("inputs", "inputs", "")
            ),
        )
    )
    return ece, alt.layer(ideal, curve)


def _classes() -> Any:
    """Acquired points by class, beside an even share."""
    classes = (
        alt.Chart()
        .mark_bar(color="var(--c0)")
        .encode(
            x=alt.X("class:O", sort=None, title="class", axis=alt.Axis(labelAngle=0, labelOverlap=True)),
            y=alt.Y("points:Q", title="points"),
            tooltip=_tip(("class", "class", ""), ("points", "points", "")),
        )
    )
    even = alt.Chart().mark_rule(strokeDash=[4, 3], stroke=_INK).encode(y="mean(points):Q")
    return alt.layer(classes, even)
