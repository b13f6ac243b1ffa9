"""Calls of tools that a model wrote as text, in the forms that local models are trained on.

A server that does not know a model's own form hands its calls on as text. A form has two parts. The frame
says that a call follows: `<tool_call>`, `[TOOL_CALLS]`, `<|python_tag|>`, `Action:`, a fenced block, or
nothing. The call names the tool and its arguments: in JSON, in Python, in XML, or as a name with JSON behind
it. Every frame is read with every kind of call (`call_forms.py`), because models mix them.

The rule that tells a call from a text about calls:

- Only the names of offered tools count.
- Thoughts are not read, and neither is the content of an element that is no frame, such as `<document>`.
- A call begins a line and ends one. A frame may also follow the end of a sentence. Inline code is prose.
- Besides calls the text holds nothing but short prose: at most MAX_PROSE characters, MAX_PROSE_BEHIND of them
  behind the last call. Another fenced block, such as a file, makes the text an answer; so does JSON that is
  no call.
- The line above a call does not say that it is an example or an earlier one ("for example", "it returned"),
  nor does it name a file that the call would be the text of. An edit block makes the text an answer.
- JSON without a frame is a call only if it has a name, arguments, and no key that calls do not have. A name
  with JSON behind it, and Python without a fence, are calls only if the text holds nothing but calls.
- Text behind the calls that imitates their results, or the next turn, is not read.

The time is linear in the length of the text: text that is no call is prose, which is bounded, or ends the
reading.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import chain, islice

from swarm_graph.prompts.chat_template import KNOWN, WIDE_BAR
from swarm_graph.state import ToolCall
from swarm_graph.text import without_lone_surrogates
from swarm_graph.tools.call_forms import FRAME, CallForms, NoCalls

MAX_PROSE, MAX_PROSE_BEHIND = 2000, 500
"""Characters that a text may hold besides its calls; a longer one is an answer."""
MAX_CALLS = 200
"""Calls that are read; a model that writes more repeats itself."""
MAX_NAMES = 20
"""Names of tools that are not offered for which a text is searched."""
MAX_REMARK = 300
"""Characters beside its calls of an answer that is nothing but calls."""
MAX_LABEL = 300
"""Characters of a line that may name a file."""
MAX_STEPS = 3000
"""Pieces of prose, tokens, thoughts and blocks of calls in a text of calls."""
NO_ARGUMENTS: Mapping[str, Sequence[str]] = {}

_PLACE = re.compile(r"^[ \t]*+(?=\S)|(?=<)|(?=\[[A-Z]*TOOL)|(?=\u273f)", re.MULTILINE)
"""Where something may begin that is no prose: the first character of a line, a tag, a token."""
_OTHERS = r"user|human|tool|system|function|developer|ipython|observation|environment"
_CALLED_NAME = r"\s{0,9}:\s{0,9}\"([A-Za-z_][\w.-]{0,127})\""
_CALLED = re.compile(
    rf"\"(?:tool|tool_name)\"{_CALLED_NAME}|\"name\"{_CALLED_NAME}\s{{0,9}},\s{{0,9}}\"arguments\""
    rf"|(?:_calls?>|\[TOOL_CALLS?\])[\s\[{{]{{0,9}}\"name\"{_CALLED_NAME}"
    r"|(?:<function=|<invoke name=\"|\[TOOL_CALLS\]|to=functions\.)([A-Za-z_][\w.-]{0,127})"
)
"""The name in what looks like a call. JSON with a name is none by itself: it may be data."""
_STOP = re.compile(
    r"</?tool_?(?:response|result|output)s?\b|<function_?(?:result|response)s?\b|<\|tool_response|"
    r"<\|START_TOOL_RESULT\|>|\[TOOL_RESULTS\]|\u273fRE(?:SULT|TURN)\u273f|"
    rf"<{WIDE_BAR}(?:tool\u2581output|User{WIDE_BAR}|end\u2581of\u2581sentence)|"
    rf"(?:<\|(?:im_start|start_header_id|start|start_of_role|turn)\|?>|<start_of_turn>)\s*+(?:{_OTHERS}|functions\.)|"
    rf"<\|(?:{_OTHERS})(?:_TOKEN)?\|>|"
    r"<\|(?:im_end|eot_id|eom_id|eot|eos|end_of_text|endoftext|end_of_turn|END_OF_TURN_TOKEN|call|return)\|>|"
    r"</s>|<end_of_turn>|<turn\|>|<eos>|"
    r"(?:`{3,}|~{3,})tool_?(?:output|result|response)|\**(?:Observation|Tool result|Tool output)\**:|"
    r"Result of [\w.-]+(?: \([\w ]+\))?\. It is data",
    re.IGNORECASE,
)
"""The end of the model's own turn, and the beginning of a tool's result. An invented result may follow."""
_THOUGHTS = (
    *((re.compile(opening), re.compile(closing)) for opening, closing in KNOWN.thought_tags),
    (
        re.compile(r"(?:<\|channel\|>)?analysis\s*+<\|message\|>"),
        re.compile(r"<\|end\|>|(?=<\|start\|>|<\|channel\|>)"),
    ),
)
_TAG = re.compile(r"<([A-Za-z][\w:.-]{0,60})>")
_THOUGHT_WORDS = re.compile(r"think|thought|reason|reflect|scratchpad|monolog|plan", re.IGNORECASE)
_LOST_OPENING = re.compile(
    rf"^[ \t]*(?:{'|'.join(closing for _, closing in KNOWN.thought_tags)})|"
    rf"(?:{'|'.join(closing for _, closing in KNOWN.thought_tags)})[ \t]*$",
    re.MULTILINE,
)
"""A closing tag of thoughts at an edge of a line."""
_STRIPPED = re.compile(r"\s*+(?:assistant)?analysis(?=[A-Z])")
_STRIPPED_END = re.compile(r"assistant(?=commentary +to=|final)")
"""Harmony's channels in a text from which a server has removed the tokens."""
_MESSAGE = re.compile(
    r"<\|channel\|>\s*+(?:commentary|final)\s*+<\|message\|>|<\|start\|>assistant(?!\s*+to=)"
)
_ELEMENT = re.compile(r"<([A-Za-z_][\w:.-]*)(?:\s[^<>]*)?>")
_CLOSING_TAG = re.compile(r"</([A-Za-z_][\w:.-]*)>")
_FENCE = re.compile(r"(?P<fence>`{3,}|~{3,})[ \t]*(?P<info>[\w.+-]*)[ \t]*(?:\n|(?=[{\[]))")
_LABEL = re.compile(
    r"(?:\**(?:Action|Tool call|Function call)\**[ \t]*:\**|\u273fFUNCTION\u273f:)\s*+", re.IGNORECASE
)
"""Words that say that a call follows, if one does."""
_ANY_FENCE = re.compile(r"`{3,}|~{3,}")
_FRAME_CLOSES = re.compile(r"</|<\|/|\[/|\[END|<\|END|<end|<tool_call\|", re.IGNORECASE)
_FRAMING_INFO = re.compile(
    r"tools?(?:_(?:calls?|code|use))?|function(?:s|_calls?)?|call|action", re.IGNORECASE
)
_PLAIN_INFO = ("", "json", "json5", "jsonc", "python", "python3", "py", "xml", "text", "txt", "plaintext")
_MAX_INDENT = 100
_BLANKS = re.compile(r"[ \t]*")
_BETWEEN, _BETWEEN_FRAMED = re.compile(r"[\s,;]*"), re.compile(r"[\s,;}\]]*")
_LINE_ENDS = re.compile(r"[ \t]*(?:\n|\Z|(?=<\||</s>|<end_of_turn>|<\uff5c))")
_FRAME_ENDS = re.compile(r"[ \t]*(?:\n|\Z|(?=[A-Z<\[]))")
_ENDS_SENTENCE = re.compile(r"[.!?:;)>\]\u3002\uff01\uff1a]\s*\Z")
_SPEAKS_OF_CALLS = re.compile(
    r"\b(?:for example|e\.g\.|for instance|(?:an?|the|this|as an) example|examples?:|zum beispiel|beispiel:"
    r"|par exemple|por ejemplo|(?:looks?|looked|be|is|was|written) like|like this:|syntax"
    r"|(?:format|form) (?:is|of)|has the form|returned|results?|outputs?|responses?|i called"
    r"|usage|(?:was|were|been|already) called|(?:earlier|previous|last) call"
    r"|(?:do not|don't|never|not) (?:call|use|write)|instead of|would (?:have|write|be written))\b"
    r"|例如",
    re.IGNORECASE,
)
"""Words in the line above a call which say that it is not to be made."""
_PATH_ALONE = re.compile(
    r"[^\w./]*(?:\d+[.)]\s*)?(?:(?:file|filename|path)\W+)?"
    r"(?:[\w@.+/-]*\.[A-Za-z]\w{0,9}|[\w@.+-]+/[\w@.+/-]+)[\W_]*(?:\([\w ]+\)\W*)?",
    re.IGNORECASE,
)
_SHOWS_A_FILE = re.compile(r"\b(?:here(?: is|'s)|contents? of)\b.*\w\.[A-Za-z]\w{0,9}\W{0,9}", re.IGNORECASE)
"""Lines above the text of a file."""
_EDIT = re.compile(r"<{5,9} ?[A-Z]|={7}\n|>{5,9} ?[A-Z]")
"""A line of an edit block."""


def written_calls(
    text: str, names: Mapping[str, str], arguments: Mapping[str, Sequence[str]] = NO_ARGUMENTS
) -> list[ToolCall]:
    """The calls in what a model wrote; none if it is an answer. The module says the rule.

    Args:
        text: What the model wrote, with its chat tokens and thoughts: many forms are made of tokens.
        names: The spellings of names that count: spelling to the tool's name.
        arguments: By the tool's name, the names of its arguments in order. They are needed for calls that do
            not say which of their keys are arguments, as `{"tool": "search", "text": "x"}`, or name none, as
            `search("x")`.

    Returns:
        The calls under the tools' names. One whose arguments cannot be read has a `problem`.
    """
    return _Reading(text, names, arguments).calls()


def called_names(text: str) -> dict[str, str]:
    """The names that stand in a text as models write the name of a call, offered or not."""
    names = chain.from_iterable(found.groups() for found in _CALLED.finditer(text))
    return {name: name for name in islice(filter(None, names), MAX_NAMES)}


def is_call(text: str, names: Mapping[str, str], arguments: Mapping[str, Sequence[str]]) -> bool:
    """Whether an answer is nothing but calls and a short remark, whatever tools they name.

    Args:
        text: The answer, as for `written_calls`.
        names: The spellings of names that are offered.
        arguments: The arguments of the tools.
    """
    known = {**called_names(text), **names}
    known_arguments: dict[str, Sequence[str]] = dict.fromkeys(known.values(), ()) | dict(arguments)
    if not written_calls(text, known, known_arguments):
        return False
    return len(without_calls(text, known, known_arguments)) <= MAX_REMARK


def without_calls(
    text: str, names: Mapping[str, str], arguments: Mapping[str, Sequence[str]] = NO_ARGUMENTS
) -> str:
    """The prose around the calls of a text, without thoughts and tokens; all of it if it holds no calls."""
    reading = _Reading(text, names, arguments)
    return reading.prose if reading.calls() else text


class _Reading:
    """One pass over a text."""

    def __init__(self, text: str, names: Mapping[str, str], arguments: Mapping[str, Sequence[str]]) -> None:
        plain = without_lone_surrogates(text).replace("\r\n", "\n").replace(f"{WIDE_BAR}DSML{WIDE_BAR}", "")
        self.text = plain
        self._forms = CallForms(plain, names, arguments)
        self._found: list[ToolCall] = []
        self._pieces: list[str] = []
        self._above: list[str] = []
        """The prose since the last call."""
        self._prose = self._behind = 0
        self._fresh = 0
        """Where the text begins, or goes on behind a token or thoughts: there a line begins, too."""

    @property
    def prose(self) -> str:
        """What the text says besides calls, as far as it was read."""
        return "".join(self._pieces).strip()

    def calls(self) -> list[ToolCall]:
        """The calls; none if the text is an answer."""
        if not any(name in self.text for name in self._forms.names):
            return []
        try:
            self._read()
        except NoCalls:
            return []
        return [] if self._forms.only_alone and self._prose else self._found[:MAX_CALLS]

    def _read(self) -> None:
        position = self._fresh = self._start()
        for _ in range(MAX_STEPS):
            if position >= len(self.text):
                return
            start = self._next_place(position)
            self._add_prose(position, start)
            position = self._after(start)
        raise NoCalls

    def _next_place(self, position: int) -> int:
        """Where something may begin that is no prose; what follows thoughts or a token begins a line."""
        if position == self._fresh:
            self._fresh = _end(_BLANKS, self.text, position)
            if not self.text.startswith("\n", self._fresh):
                return self._fresh
        place = _PLACE.search(self.text, position)
        return place.end() if place else len(self.text)

    def _start(self) -> int:
        """Where the text begins, behind thoughts that have lost their opening."""
        if _STRIPPED.match(self.text):
            end = _STRIPPED_END.search(self.text)
            return end.end() if end else len(self.text)
        if closing := _LOST_OPENING.search(self.text):
            opened = any(opening.search(self.text, 0, closing.start()) for opening, _ in _THOUGHTS)
            return 0 if opened else closing.end()
        return 0

    def _after(self, start: int) -> int:
        """The end of what begins at a place."""
        if _STOP.match(self.text, start) or len(self._found) > MAX_CALLS:
            return len(self.text)
        if self._begins_line(start) and _EDIT.match(self.text, start):
            raise NoCalls
        for find in (self._end_of_thoughts, self._end_of_block, self._end_of_element, self._end_of_token):
            if (end := find(start)) is not None:
                return end
        self._add_prose(start, start + 1)
        return start + 1

    def _add_prose(self, start: int, end: int) -> None:
        said = self.text[start:end]
        self._pieces.append(said)
        self._above.append(said)
        if said.strip():
            self._prose += len(said)
            self._behind += len(said)
        if self._prose > MAX_PROSE or (self._found and self._behind > MAX_PROSE_BEHIND):
            raise NoCalls

    def _end_of_thoughts(self, start: int) -> int | None:
        tag = _TAG.match(self.text, start)
        if tag and _THOUGHT_WORDS.search(tag[1]):
            closed = self._next_closing(tag[1], tag.end())
            self._fresh = len(self.text) if closed is None else closed
            return self._fresh
        for opening, closing in _THOUGHTS:
            if opened := opening.match(self.text, start):
                end = closing.search(self.text, opened.end())
                self._fresh = end.end() if end else len(self.text)
                return self._fresh
        return None

    def _end_of_token(self, start: int) -> int | None:
        """The end of a token of a chat template that is no frame; a message may begin behind it."""
        token = _MESSAGE.match(self.text, start) or KNOWN.token.match(self.text, start)
        if token:
            self._fresh = token.end()
        return token.end() if token else None

    def _end_of_element(self, start: int) -> int | None:
        """The end of an element that begins a line; it is prose."""
        tag = _ELEMENT.match(self.text, start) if self._begins_line(start) else None
        closed = self._next_closing(tag[1], tag.end()) if tag else None
        if closed is not None:
            self._add_prose(start, closed)
        return closed

    def _next_closing(self, tag: str, start: int) -> int | None:
        closings = self._closings.get(tag, [])
        found = bisect_left(closings, start)
        return closings[found] + len(tag) + len("</>") if found < len(closings) else None

    @cached_property
    def _closings(self) -> dict[str, list[int]]:
        """Where the closing tags stand, by their name."""
        found: dict[str, list[int]] = {}
        for tag in _CLOSING_TAG.finditer(self.text):
            found.setdefault(tag[1], []).append(tag.start())
        return found

    def _begins_line(self, start: int) -> bool:
        before = self.text[max(0, start - _MAX_INDENT) : start].rpartition("\n")[2]
        return start == self._fresh or not before.strip()

    def _end_of_block(self, start: int) -> int | None:
        """The end of a block of calls; None if none begins here. Raises NoCalls for what makes an answer."""
        begins_line = self._begins_line(start)
        if not begins_line and not _ENDS_SENTENCE.search(self.text, max(0, start - 10), start):
            return None
        end = self._block(start, begins_line=begins_line)
        if end is not None:
            above = "".join(self._above).rstrip().rpartition("\n")[2]
            if _SPEAKS_OF_CALLS.search(above) or _labels_a_file(above):
                raise NoCalls
            self._above, self._behind = [], 0
        return end

    def _block(self, start: int, *, begins_line: bool) -> int | None:
        position, framed, fence, label = start, False, "", None
        if begins_line and (label := _LABEL.match(self.text, start)):
            position = label.end()
        while True:
            frame = FRAME.match(self.text, position)
            if frame and (framed or not _FRAME_CLOSES.match(frame[0])):
                framed, position = True, _end(_BETWEEN, self.text, frame.end())
            elif (begins_line or label) and not fence and (opened := self._opened_fence(position)):
                fence, position = opened["fence"], opened.end()
                framed = framed or bool(_FRAMING_INFO.fullmatch(opened["info"]))
            else:
                break
        end = self._end_of_calls(position, framed=framed or bool(label), fenced=bool(fence))
        if end is None:
            if fence or framed:
                raise NoCalls
            return None
        if len(self._found) > MAX_CALLS:
            return len(self.text)
        if fence:
            closed = re.compile(rf"\s*+(?:{fence[0]}{{{len(fence)},}}[ \t]*|\Z)").match(self.text, end)
            if closed is None:
                raise NoCalls
            end = closed.end()
            while frame := FRAME.match(self.text, _end(_BETWEEN, self.text, end)):
                end = frame.end()
        ending = (_FRAME_ENDS if framed else _LINE_ENDS).match(self.text, end)
        if ending is None:
            raise NoCalls
        return ending.end()

    def _opened_fence(self, position: int) -> re.Match[str] | None:
        """A fence that may hold calls. Raises NoCalls for any other one."""
        if not _ANY_FENCE.match(self.text, position):
            return None
        opened = _FENCE.match(self.text, position)
        if opened and (opened["info"].lower() in _PLAIN_INFO or _FRAMING_INFO.fullmatch(opened["info"])):
            return opened
        raise NoCalls

    def _end_of_calls(self, position: int, *, framed: bool, fenced: bool) -> int | None:
        """The end of the calls that follow each other from a position on; None if there are none."""
        end: int | None = None
        between = _BETWEEN_FRAMED if framed else _BETWEEN
        while len(self._found) <= MAX_CALLS:
            alone = framed or fenced or not self._prose
            form = self._forms.read(position, framed=framed, fenced=fenced, alone=alone)
            if form is None:
                break
            self._found += form.calls
            end = form.end
            position = _end(between, self.text, end)
            while frame := FRAME.match(self.text, position):
                framed, end = True, frame.end()
                position = _end(between, self.text, end)
        return end


def _labels_a_file(line: str) -> bool:
    """Whether a line says that a file's text follows: its path, or words such as `Here is src/a.py:`."""
    if len(line) > MAX_LABEL:
        return False
    shows = _SHOWS_A_FILE.search(line)
    return bool(_PATH_ALONE.fullmatch(line)) or bool(shows and shows.end() == len(line))


def _end(pattern: re.Pattern[str], text: str, position: int) -> int:
    """Where the match of a pattern ends; the position itself if there is no match."""
    found = pattern.match(text, position)
    return found.end() if found else position
