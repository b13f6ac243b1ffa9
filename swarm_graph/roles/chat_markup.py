"""Reading an answer at the level of its chat template: the final message of the model's own turn.

What may surround it: headers of turns, thoughts, other channels (harmony's analysis), and behind the end of
the turn whatever the model invented, such as the next question. Tokens in closed code blocks, in inline code
and in JSON objects are text: code about chat templates is legitimate.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import accumulate
from typing import Literal, NamedTuple

from swarm_graph.errors import UnreadableAnswer
from swarm_graph.prompts.chat_template import KNOWN, WIDE_BAR, ChatTemplate, restored
from swarm_graph.roles.fences import parse
from swarm_graph.roles.json_objects import json_objects
from swarm_graph.roles.syntax import decoded_bytes
from swarm_graph.roles.thoughts import separate, without_leading_thoughts
from swarm_graph.text import without_lone_surrogates

Kind = Literal["end", "header", "header_end", "channel", "assistant", "other_role", "html", "edge", "noise"]

_KINDS: tuple[tuple[str, Kind], ...] = (
    (
        r"im_end|eot(_id)?|eom(_id)?|eos(_token)?|end|return|call|endoftext|endofturn|end_of_(text|turn|sentence"
        r"|message|utterance|turn_token)|(role|assistant|turn)_end|seed:eos|end_response",
        "end",
    ),
    (
        r"im_start|start|start_header_id|header_start|start_of_(role|turn|turn_token)|role_start|turn",
        "header",
    ),
    (r"end_header_id|header_end|end_of_role|message|im_middle|im_sep|start_response", "header_end"),
    (r"channel", "channel"),
    (r"(im_)?(assistant|chatbot|model|bot)(_token|_start)?|/inst", "assistant"),
    (
        r"(im_)?(user|human|system|developer|observation|tool|function|ipython|environment)(_token|_start)?"
        r"|/?sys|inst|/?system_prompt|/?tool_results|/?available_tools|tool_calls?(_\w+)?|action_start|python_tag",
        "other_role",
    ),
    (r"/?s", "html"),
    (
        r"begin_of_(text|sentence|box|solution)|end_of_(box|solution)|startoftext|bos(_token)?|gmask|[se]op"
        r"|pad|reserved_special_token_\d+|fim_\w+",
        "edge",
    ),
)
_OWN_ROLES = ("", "assistant", "model", "chatbot", "bot", "ai")
_ROLES = (*_OWN_ROLES, "user", "human", "system", "developer", "tool", "function")
_UNCLEAR = "unclear"
_THOUGHT_CHANNELS = ("analysis", "commentary", "thought", "thoughts", "thinking", _UNCLEAR)
_WORD = re.compile(r"[ \t]*([\w-]*)")
_HEADER_WORD = re.compile(r"to=\S+|json|code")
_FENCE = re.compile(r"^ *(?:`{3,}|~{3,})[ \t]*", re.MULTILINE)
_INLINE_CODE = re.compile(r"(?<!`)(`{1,2})(?!`)[^`\n]+\1(?!`)")
_LEADING_ROLE = re.compile(r"\s*assistant[ \t]*\n")
_LOST_START = re.compile(
    r"\s*(?P<name>assistant|model|analysis|commentary|final)(?: to=[\w.]+| json)* *(?=<)"
)
_STRIPPED_CHANNELS = re.compile(r"\s*(?:assistant)?(?:analysis|commentary|final(?![a-z]))")
_STRIPPED_ANALYSIS = re.compile(r"\s*(?:assistant)?(?:analysis|commentary)(?=[A-Z])")
_STRIPPED_FINAL = re.compile(r"(?<![A-Za-z])assistantfinal|(?<=[.!?])assistantfinal")
_STRIPPED_FINAL_ONLY = re.compile(r"\s*final(?=[{#`])")
_STRIPPED_TURN = re.compile(r"(?<=[.!?)\]}>`])assistant(?:\n\n|\s*\Z)")
_WRAPPED = re.compile(r"\s*<(?P<tag>answer|output|response)>(?P<body>.*)</(?P=tag)>\s*", re.DOTALL)
_STRUCK_OUT = re.compile(r"[^\n]*?</s>[ \t]*\S")
_MAX_NAME_LINE = 200


class FinalMessage(NamedTuple):
    """The final message of an answer.

    Attributes:
        text: The message, without chat markup and thoughts.
        doubtful: Text before it that is probably thoughts; see `thoughts.Separated`.
        cut: What ended it although more text follows, as a note for people; empty when nothing does.
    """

    text: str
    doubtful: str = ""
    cut: str = ""


def final_message(text: str, template: ChatTemplate = KNOWN) -> FinalMessage:
    """The final message in what a model wrote.

    Args:
        text: What the model wrote, markup and thoughts included.
        template: Its chat template.
    """
    text = without_lone_surrogates(text).replace("\r\n", "\n").removeprefix("\ufeff")
    text = _without_edges(_detokenized(text, template), template)
    if leading := _LEADING_ROLE.match(text):
        text = text[leading.end() :]
    text, next_turn = _before_stripped_turn(text, template)
    final, before = _without_stripped_channels(text, template)
    separated = separate(final, template)
    if any(message.role == "other" for message in _messages(separated.doubtful, template)):
        # A turn that the model invented closes no thoughts of the turn before it.
        separated = separated._replace(answer=text, doubtful="")
    message, cut = _first_final(separated.answer, template)
    answer = _without_edges(without_leading_thoughts(message, template), template)
    wrapped = _WRAPPED.fullmatch(answer)
    if separated.unclosed:
        cut = cut or "read up to a thought that never ends"
    text, doubtful = wrapped["body"] if wrapped else answer, separated.doubtful
    return FinalMessage(restored(text, template), restored(doubtful, template), cut or next_turn or before)


def _detokenized(text: str, template: ChatTemplate) -> str:
    """A text in which a server has left its tokenizer's characters, or escaped line ends, as plain text."""
    if _outside_code("<0x0A>", text, template) > text.count("\n"):
        return decoded_bytes(text)
    if " " not in text.strip() and any(
        _outside_code(char, template.token.sub("", text), template) for char in "\u2581\u0120"
    ):
        return text.replace("\u2581", " ").replace("\u0120", " ").replace("\u010a", "\n")
    if "\n" not in text.strip() and text.count("\\n") > 2 and text.lstrip().startswith("```"):
        return text.replace("\\n", "\n").replace("\\t", "\t").replace('\\"', '"')
    return text


def _outside_code(characters: str, text: str, template: ChatTemplate) -> int:
    """How often characters stand in a text, apart from closed code blocks, inline code and JSON objects."""
    if characters not in text:
        return 0
    protected = _protected(text, template)
    return sum(not protected(found.start()) for found in re.finditer(characters, text))


def _without_edges(text: str, template: ChatTemplate) -> str:
    """A text without the tokens around it that divide nothing, such as `<|begin_of_text|>`."""
    tokens = [token for token in template.token.finditer(text) if _kind(token, template) == "edge"]
    start, end = 0, len(text)
    for token in tokens:
        if text[start : token.start()].strip():
            break
        start = token.end()
    for token in reversed(tokens):
        if token.start() < start or text[token.end() : end].strip():
            break
        end = token.start()
    return text[start:end] if (start, end) != (0, len(text)) else text


# --- templates whose tokens a server has left out ------------------------------------------------


def _before_stripped_turn(text: str, template: ChatTemplate) -> tuple[str, str]:
    """A text up to a next turn of which only the word `assistant` is left, and the note about it."""
    found = list(_STRIPPED_TURN.finditer(text))
    protected = _protected(text, template) if found else None
    turn = next((turn for turn in found if protected and not protected(turn.start())), None)
    return (text[: turn.start()], "read up to the next turn, more text followed") if turn else (text, "")


def _without_stripped_channels(text: str, template: ChatTemplate) -> tuple[str, str]:
    """A text without the channels before the final one, where a server left only the names of channels.

    It then reads as in `analysisWe need a sum.assistantfinalHere it is`. If the name of the first channel is
    missing too, what was left out is only probably thoughts, and a note says so.
    """
    if only := _STRIPPED_FINAL_ONLY.match(text):
        return text[only.end() :], ""
    if "assistantfinal" not in text:
        return "" if _STRIPPED_ANALYSIS.match(text) else text, ""
    if _STRIPPED_CHANNELS.match(text):
        return text.partition("assistantfinal")[2], ""
    protected = _protected(text, template)
    final = next((found for found in _STRIPPED_FINAL.finditer(text) if not protected(found.start())), None)
    return (text[final.end() :], "read from 'assistantfinal', text stood before it") if final else (text, "")


# --- messages ------------------------------------------------------------------------------------


class _Message(NamedTuple):
    role: Literal["own", "other"]
    channel: str
    text: str
    end: re.Match[str] | None
    """The token that ended it; None at the end of the text."""


def _first_final(text: str, template: ChatTemplate) -> tuple[str, str]:
    """The first message of the model's own that is no thought and not empty, and the note about its end."""
    for message in _messages(text, template):
        if message.role == "other":
            break
        if message.text.strip() and message.channel not in _THOUGHT_CHANNELS:
            rest = text[message.end.end() :] if message.end else ""
            more = template.token.sub("", rest).strip()
            return (
                message.text,
                f"read up to {message.end[0]}, more text followed" if more and message.end else "",
            )
    return "", ""


def _messages(text: str, template: ChatTemplate) -> Iterator[_Message]:
    """The messages that tokens divide a text into. The text before the first token is the model's own."""
    role: Literal["own", "other"] = "own"
    channel, position = _lost_start(text, 0, template)
    struck_out = _StruckOut(text)
    while True:
        token = _next_token(text, position, template, struck_out, anywhere=channel in _THOUGHT_CHANNELS)
        yield _Message(role, channel, text[position : token.start() if token else len(text)], token)
        if token is None:
            return
        position = token.end()
        match _kind(token, template):
            case "header":
                name, position = _name(text, position, template, ("header_end", "channel"))
                role, channel = "own" if name in _OWN_ROLES else "other", "final"
            case "channel":
                channel, position = _name(text, position, template, ("header_end",))
            case "assistant" | "other_role" as kind:
                role, channel = "own" if kind == "assistant" else "other", "final"
                position = _end_of_header(text, position, template)
            case "end":
                channel, position = _lost_start(text, position, template)
            case _:
                pass


def _lost_start(text: str, position: int, template: ChatTemplate) -> tuple[str, int]:
    """The channel of a message and where it begins, also if the first token of its header is missing.

    It then begins as in `analysis<|message|>` or `assistant<|end_header_id|>`.
    """
    found = _LOST_START.match(text, position)
    token = template.token.match(text, found.end()) if found else None
    if not found or not token or _kind(token, template) not in ("header_end", "channel"):
        return "final", position
    return found["name"] if found["name"] in _THOUGHT_CHANNELS else "final", token.start()


def _end_of_header(text: str, position: int, template: ChatTemplate) -> int:
    """The end of a header that goes on behind its token, as in `<|im_assistant|>assistant<|im_middle|>`."""
    token = template.token.search(text, position, position + _MAX_NAME_LINE)
    if not token or _kind(token, template) != "header_end":
        return position
    return token.start() if text[position : token.start()].strip(" ").lower() in _ROLES else position


def _next_token(
    text: str, position: int, template: ChatTemplate, struck_out: _StruckOut, *, anywhere: bool
) -> re.Match[str] | None:
    """The next token that divides messages.

    Args:
        text: The whole text.
        position: Where the message begins.
        template: The chat template.
        struck_out: Where its `<s>` are HTML.
        anywhere: Whether tokens in code count too: thoughts may end in the middle of a draft.
    """
    protected: Callable[[int], bool] | None = None
    for token in template.token.finditer(text, position):
        kind = _kind(token, template)
        if kind in ("edge", "noise") or (kind == "html" and token.start() >= struck_out.first(position)):
            continue
        if anywhere or not text[position : token.start()].strip():
            return token
        if protected is None:
            protected = _protected(text[position:], template)
        if not protected(token.start() - position):
            return token
    return None


def _kind(token: re.Match[str], template: ChatTemplate) -> Kind:
    if token[0] in template.ends:
        return "end"
    name = token[0].strip(f"<>[]|{WIDE_BAR}").replace("▁", "_").lower()
    if token[0] in ("<turn|>", "<channel|>"):
        return "end"
    return next((kind for pattern, kind in _KINDS if re.fullmatch(pattern, name)), "noise")


class _StruckOut:
    """Where `<s>` is HTML, and so a later `</s>` as well."""

    def __init__(self, text: str) -> None:
        self._text, self._starts = text, [found.start() for found in re.finditer("<s>", text)]

    def first(self, position: int) -> int:
        """The first one in a message, past a token that begins it; the end of the text if there is none."""
        found = bisect_left(self._starts, position)
        if found < len(self._starts) and self._begins(position, self._starts[found]):
            found += 1
        return self._starts[found] if found < len(self._starts) else len(self._text)

    def _begins(self, position: int, start: int) -> bool:
        after = start + len("<s>")
        near = start - position < _MAX_NAME_LINE and not self._text[position:start].strip()
        return near and not _STRUCK_OUT.match(self._text, after, after + _MAX_NAME_LINE)


def _name(text: str, position: int, template: ChatTemplate, ended_by: tuple[Kind, ...]) -> tuple[str, int]:
    """The name of a role or channel behind its token, and where the message or the next token begins.

    A header that holds other words than a name is `_UNCLEAR`: they may be the answer.
    """
    end_of_line = text.find("\n", position, position + _MAX_NAME_LINE)
    line_end = min(position + _MAX_NAME_LINE, len(text)) if end_of_line < 0 else end_of_line + 1
    tokens = template.token.finditer(text, position, line_end)
    ending = next((token for token in tokens if _kind(token, template) in ended_by), None)
    if ending is None:
        word = _WORD.match(text, position)
        return (word[1].lower(), word.end()) if word else ("", position)
    name, *more = template.token.sub(" ", text[position : ending.start()]).lower().split() or [""]
    return name if all(map(_HEADER_WORD.fullmatch, more)) else _UNCLEAR, ending.start()


def _protected(text: str, template: ChatTemplate) -> Callable[[int], bool]:
    """A function that tells whether a position lies in a closed code block, inline code or a JSON object."""
    text = _with_bare_fences(text, template)
    starts = list(accumulate((len(line) + 1 for line in text.split("\n")), initial=0))
    spans = [(starts[b.lines.start], starts[b.lines.stop]) for b in parse(text).blocks if b.closed]
    spans += [match.span() for match in _INLINE_CODE.finditer(text)]
    with suppress(UnreadableAnswer):
        spans += [(found.start, found.end) for found in json_objects(text)]
    spans.sort()
    begins, ends = [begin for begin, _ in spans], list(accumulate((end for _, end in spans), max))

    def protected(position: int) -> bool:
        found = bisect_right(begins, position)
        return found > 0 and position < ends[found - 1]

    return protected


def _with_bare_fences(text: str, template: ChatTemplate) -> str:
    """The text with spaces for the tokens right behind a fence, which would otherwise not close its block."""
    parts, position = [], 0
    for fence in _FENCE.finditer(text):
        token = template.token.match(text, fence.end())
        if token and _kind(token, template) not in ("edge", "noise"):
            line_end = text.find("\n", token.end())
            line_end = len(text) if line_end < 0 else line_end
            parts += [text[position : fence.end()], " " * (line_end - fence.end())]
            position = line_end
    return "".join([*parts, text[position:]])
