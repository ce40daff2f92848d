"""The plots, as SVG by hand. They have no background and follow the reader's light or dark theme."""

import math
from xml.sax.saxutils import escape

STYLE = """
text { font: 12px -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328; }
.title { font-size: 13px; font-weight: 600; }
.soft { fill: #59636e; }
.grid { stroke: #d1d9e0; stroke-width: 1; }
.peer { fill: #afb8c1; } .ours { fill: #0969da; }
.s0 { stroke: #0969da; fill: #0969da; } .s1 { stroke: #bc4c00; fill: #bc4c00; } .s2 { stroke: #1a7f37; fill: #1a7f37; }
text.s0, text.s1, text.s2 { stroke: none; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc; } .soft { fill: #9198a1; } .grid { stroke: #3d444d; }
.peer { fill: #656c76; } .ours { fill: #4493f8; }
.s0 { stroke: #4493f8; fill: #4493f8; } .s1 { stroke: #f0883e; fill: #f0883e; } .s2 { stroke: #3fb950; fill: #3fb950; }
.line { fill: none; }
}
"""


class Drawing:
    def __init__(self, width, height, title):
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" role="img">',
            f"<title>{escape(title)}</title>", f"<style>{STYLE}</style>",
        ]

    def text(self, x, y, text, kind="", anchor="start"):
        self.parts.append(f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>')

    def line(self, x1, y1, x2, y2, kind="grid"):
        self.parts.append(f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')

    def bar(self, x, y, width, height, kind):
        self.parts.append(f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height}" rx="2"/>')

    def curve(self, points, kind):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(f'<polyline class="{kind} line" points="{path}"/>')
        self.parts.extend(f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in points)

    def svg(self):
        return "\n".join([*self.parts, "</svg>", ""])


def seconds(value):
    return f"{value:.2f} s" if value < 1 else f"{value:.1f} s"


def bars(panels, ours):
    """`panels`: (title, [(label, value)]). A panel for each step, a bar for each tool, the fastest on top."""
    columns, width, row, gap, names = 2, 430, 20, 34, 112
    rows = [panels[at : at + columns] for at in range(0, len(panels), columns)]
    heights = [max(len(panel[1]) for panel in line) * row + gap + 14 for line in rows]
    drawing = Drawing(columns * width, sum(heights), "Wall clock of each step by tool")
    top = 0
    for line, height in zip(rows, heights):
        for column, (title, values) in enumerate(line):
            left, longest = column * width, max(value for _, value in values)
            drawing.text(left + 4, top + 20, title, "title")
            for place, (label, value) in enumerate(sorted(values, key=lambda pair: pair[1])):
                y = top + gap + place * row
                drawing.text(left + names, y + 12, label, "title" if label == ours else "", "end")
                length = max(1.5, value / longest * (width - names - 70))
                drawing.bar(left + names + 8, y + 1, length, row - 6, "ours" if label == ours else "peer")
                drawing.text(left + names + 14 + length, y + 12, seconds(value), "title" if label == ours else "soft")
        top += height
    return drawing.svg()


def short(value):
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


class LogAxis:
    """Maps values to places, whole decades from end to end unless ticks are given."""

    def __init__(self, values, begin, end, ticks=None):
        low, high = math.floor(math.log10(min(values)) + 1e-9), math.ceil(math.log10(max(values)) - 1e-9)
        self.ticks = ticks or [10.0**power for power in range(low, max(high, low + 1) + 1)]
        self.low, self.high, self.begin, self.end = math.log10(self.ticks[0]), math.log10(self.ticks[-1]), begin, end

    def at(self, value):
        return self.begin + (math.log10(value) - self.low) / (self.high - self.low) * (self.end - self.begin)


def growth(rows):
    """`rows` of panels: (title, x label, x ticks, [(name, [(x, y)])]), all axes logarithmic."""
    width, height = 290, 250
    columns = max(len(row) for row in rows)
    drawing = Drawing(columns * width, len(rows) * height, "Growth of time, memory and store operations")
    for line, row in enumerate(rows):
        for column, panel in enumerate(row):
            one_growth(drawing, column * width, line * height, width, height, *panel)
    return drawing.svg()


def one_growth(drawing, left, top, width, height, title, x_label, x_ticks, series):
    x_axis = LogAxis(x_ticks, left + 50, left + width - 22, x_ticks)
    y_axis = LogAxis([y for _, points in series for _, y in points], top + height - 62, top + 40)
    drawing.text(left + 4, top + 20, title, "title")
    for tick in y_axis.ticks:
        drawing.line(x_axis.begin, y_axis.at(tick), x_axis.end, y_axis.at(tick))
        drawing.text(x_axis.begin - 6, y_axis.at(tick) + 4, short(tick), "soft", "end")
    for tick in x_ticks:
        drawing.text(x_axis.at(tick), top + height - 44, short(tick), "soft", "middle")
    drawing.text(x_axis.end, top + height - 26, x_label, "soft", "end")
    x = left + 4
    for number, (name, points) in enumerate(series):
        drawing.curve([(x_axis.at(a), y_axis.at(b)) for a, b in points], f"s{number}")
        drawing.text(x, top + height - 26, name, f"s{number}")
        x += 12 + 7.2 * len(name)
