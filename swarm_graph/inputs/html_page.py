"""HTML pages: their visible text with headings, lists and tables. Nothing is run or fetched."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser

from swarm_graph.inputs.document import Unreadable
from swarm_graph.inputs.encodings import Decoded, decode
from swarm_graph.inputs.text_writer import TextWriter
from swarm_graph.text import format_count

INVISIBLE = {
    "script", "style", "noscript", "template", "head", "iframe", "object", "embed", "svg", "math", "canvas",
    "audio", "video", "select", "datalist",
}  # fmt: skip
VOID = {
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr",
}  # fmt: skip
BLOCKS = {
    "p", "div", "section", "article", "main", "header", "footer", "nav", "aside", "address", "blockquote",
    "figure", "figcaption", "form", "fieldset", "dl", "dt", "dd", "ul", "ol", "body", "html", "details",
    "summary", "center", "pre", "hr",
}  # fmt: skip
CLOSES = {"p": {"p"}, "li": {"li"}, "tr": {"tr", "td", "th"}, "td": {"td", "th"}, "th": {"td", "th"},
          "dt": {"dt", "dd"}, "dd": {"dt", "dd"}}  # fmt: skip
"""The open elements that a start tag ends when its page leaves out their end tags."""
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?([\w.:-]{1,40})""", re.IGNORECASE)
MAX_OPEN = 1000
"""Elements within elements."""
HEAD_BYTES = 4096
"""Where a page may say its encoding."""


def read(data: bytes, writer: TextWriter) -> None:
    """Write a page.

    Raises:
        Unreadable: It is no text, or its elements are nested too deep.
    """
    decoded = _decode(data)
    if decoded.assumed:
        writer.note(decoded.assumed)
    write(decoded.text, writer)


def write(text: str, writer: TextWriter) -> None:
    """Write the text of a page that is decoded."""
    page = _Page(writer)
    page.feed(text)
    page.close()
    page.finish()


def _decode(data: bytes) -> Decoded:
    """By what the page says of itself if that is no UTF-8 and fits."""
    match = _CHARSET.search(data[:HEAD_BYTES])
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        try:
            return Decoded(data.decode(match[1].decode("ascii"))) if match else decode(data)
        except (UnicodeDecodeError, LookupError, ValueError):
            return decode(data)
    return decode(data)


class _Table:
    """A table that is being read; a table inside a cell is text of that cell."""

    def __init__(self) -> None:
        self.rows: list[list[str]] = []
        self.depth = 1

    def add(self, text: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += text


class _Page(HTMLParser):
    """Turns the tags of a page into paragraphs, headings, items and tables."""

    def __init__(self, writer: TextWriter) -> None:
        super().__init__(convert_charrefs=True)
        self._writer = writer
        self._open: list[tuple[str, bool]] = []
        self._hidden = 0
        self._text: list[str] = []
        self._counters: list[int | None] = []
        self._label = ""
        self._table: _Table | None = None
        self._in_title = False
        self._left_out: Counter[str] = Counter()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._count(tag, given)
        self._close_left_open(tag)
        self._start_block(tag, given)
        if tag not in VOID:
            self._push(tag, given)
        elif tag == "br":
            self._add("\n")

    def handle_endtag(self, tag: str) -> None:
        if not any(name == tag for name, _ in self._open[-MAX_OPEN:]):
            return
        while self._open:
            name, hides = self._open.pop()
            self._hidden -= hides
            self._end_block(name)
            if name == tag:
                return

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self._writer.note(f"the page's title is '{' '.join(data.split())[:100]}'")
        elif not self._hidden:
            keeps = any(name == "pre" for name, _ in self._open[-5:])
            self._add(data if keeps else re.sub(r"\s+", " ", data))

    def finish(self) -> None:
        """Write what the page left open, and say what was left out."""
        while self._open:
            self.handle_endtag(self._open[-1][0])
        self._flush()
        for what, count in self._left_out.items():
            if count:
                words = ", but for the words" if what == "link" else ""
                self._writer.note(f"{format_count(count, what)} left out{words}")

    # --- elements -----------------------------------------------------------------------------------

    def _push(self, tag: str, given: dict[str, str | None]) -> None:
        hides = tag in INVISIBLE or "hidden" in given or bool(_HIDDEN.search(given.get("style") or ""))
        if len(self._open) >= MAX_OPEN:
            raise Unreadable(f"has more than {MAX_OPEN} elements within elements; save it as text")
        self._in_title = tag == "title" and not any(name == "svg" for name, _ in self._open)
        self._open.append((tag, hides))
        self._hidden += hides

    def _close_left_open(self, tag: str) -> None:
        closed = CLOSES.get(tag, set())
        while self._open and self._open[-1][0] in closed:
            self.handle_endtag(self._open[-1][0])

    def _count(self, tag: str, given: dict[str, str | None]) -> None:
        if tag in ("script", "style"):
            self._left_out[tag] += 1
        elif tag in ("img", "svg", "picture"):
            self._left_out["picture"] += 1
        elif "hidden" in given or _HIDDEN.search(given.get("style") or ""):
            self._left_out["hidden element"] += 1
        elif tag == "a" and given.get("href"):
            self._left_out["link"] += 1

    # --- blocks -------------------------------------------------------------------------------------

    def _start_block(self, tag: str, given: dict[str, str | None]) -> None:
        if tag == "table":
            self._start_table()
        elif self._table:
            self._start_in_table(tag)
        elif tag in BLOCKS or tag == "li" or _level(tag):
            self._flush()
        if tag in ("ol", "ul"):
            start = given.get("start") or "1"
            self._counters.append(int(start) - 1 if tag == "ol" and re.fullmatch(r"\d{1,6}", start) else None)
        elif tag == "li":
            self._label = self._next_label()

    def _end_block(self, tag: str) -> None:
        if tag == "title":
            self._in_title = False
        if tag in ("ol", "ul") and self._counters:
            if not self._table:
                self._flush()
            self._counters.pop()
        elif self._table:
            self._end_in_table(tag)
        elif level := _level(tag):
            self._writer.heading(level, "".join(self._text))
            self._text.clear()
        elif tag in BLOCKS or tag == "li":
            self._flush()

    def _next_label(self) -> str:
        indent = "  " * max(len(self._counters) - 1, 0)
        count = self._counters[-1] if self._counters else None
        if count is None:
            return f"{indent}- "
        self._counters[-1] = count + 1
        return f"{indent}{count + 1}. "

    def _start_table(self) -> None:
        if self._table:
            self._table.depth += 1
        elif not self._hidden:
            self._flush()
            self._table = _Table()

    def _start_in_table(self, tag: str) -> None:
        table = self._table
        if table and table.depth == 1 and tag == "tr":
            table.rows.append([])
        elif table and table.depth == 1 and tag in ("td", "th"):
            if not table.rows:
                table.rows.append([])
            table.rows[-1].append("")
        elif tag in BLOCKS or tag in ("li", "tr"):
            self._add("\n")
        elif tag in ("td", "th"):
            self._add(" ")

    def _end_in_table(self, tag: str) -> None:
        if self._table and tag == "table":
            self._table.depth -= 1
            if not self._table.depth:
                self._writer.table(self._table.rows)
                self._table = None
        elif self._table and tag == "caption":
            self._flush()

    def _add(self, text: str) -> None:
        if self._hidden:
            return
        if self._table and not any(name == "caption" for name, _ in self._open[-3:]):
            self._table.add(text)
        else:
            self._text.append(text)

    def _flush(self) -> None:
        text = re.sub(r" *\n *", "\n", "".join(self._text)) if not self._keeps() else "".join(self._text)
        self._text.clear()
        if not text.strip():
            return
        label, self._label = self._label, ""
        if label:
            self._writer.item(label + text.strip())
        else:
            self._writer.paragraph(text.strip("\n") if self._keeps() else text.strip())

    def _keeps(self) -> bool:
        """Whether the text is preformatted."""
        return any("\n" in part and "  " in part for part in self._text)


def _level(tag: str) -> int:
    """The level of a heading's tag; 0 for other tags."""
    return int(tag[1]) if re.fullmatch("h[1-6]", tag) else 0
