"""The tokens of chat templates: they divide turns, channels and thoughts, and are not part of any text.

A server reads `<|im_end|>` in a request as a real end of turn, and some models write it as text. So tokens
are broken up before a prompt is sent, and `roles/chat_markup.py` reads them out of answers. Families of
models share their tokens, so most are known; a model's own template adds the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

BREAK = "\u200b"
"""A zero-width space: behind a token's first character it keeps the server from reading the token."""

WIDE_BAR = "\uff5c"
"""The bar in DeepSeek's tokens."""

_FIRST = r"[<\[◁]"
_REST = (
    r"\|[^\s|<>\[\]]{1,40}\|[>\]]",  # <|im_end|>, <|channel|>, [|user|]
    rf"{WIDE_BAR}[^\s{WIDE_BAR}<>]{{1,60}}{WIDE_BAR}>",  # DeepSeek's <|end_of_sentence|>
    r"\|(?:turn|channel|think|tool|tool_call|tool_response)>",  # <|turn>, which <turn|> ends
    r"(?:turn|channel|tool|tool_call|tool_response)\|>",
    r"(?:start_of_turn|end_of_turn|end_of_utterance|bos|eos|sop|eop|BOS_TOKEN|EOS_TOKEN|/?s)>",
    r"(?:/?seed:[a-z_]+|extra_id_\d+|unused_?\d+)>",
    r"(?:/?INST|/?SYSTEM_PROMPT|/?THINK|/?TOOL_RESULTS|/?AVAILABLE_TOOLS|TOOL_CALLS|gMASK)\]",
    r"</?SYS>>",
    r"/?think▷",
)

_THOUGHT_TAGS = (
    (r"<think(?:ing)?>", r"</think(?:ing)?>"),
    (r"<thoughts?>", r"</thoughts?>"),
    (r"<seed:think>", r"</seed:think>"),
    (r"\[THINK\]", r"\[/THINK\]"),
    (r"◁think▷", r"◁/think▷"),
    (r"<\|START_THINKING\|>", r"<\|END_THINKING\|>"),
    (r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>"),
    (r"<\|inner_prefix\|>", r"<\|inner_suffix\|>"),
)
_THOUGHT_CLOSER = re.compile(
    r"<[^<>\s]*(?:think|thought|reason|reflect)[^<>\s]*>|\[[^\[\]\s]*(?:THINK|THOUGHT|REASON)[^\[\]\s]*\]",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class ChatTemplate:
    """The tokens of a model's chat template.

    Attributes:
        thought_tags: Patterns of the tags around thoughts: opening, closing.
        ends: Tokens that end a turn, besides those of the known families.
    """

    thought_tags: tuple[tuple[str, str], ...] = _THOUGHT_TAGS
    ends: tuple[str, ...] = ()

    @cached_property
    def token(self) -> re.Pattern[str]:
        """Matches a token. Its groups are the first character and the rest."""
        return re.compile(rf"({_FIRST})({self._rest})")

    @cached_property
    def broken(self) -> re.Pattern[str]:
        """Matches what `break_up` makes of a token, up to its break, also where JSON escapes the break."""
        return re.compile(rf"({_FIRST})(?:{BREAK}|\\u200b)(?={self._rest})")

    @property
    def _rest(self) -> str:
        return "|".join([*_REST, *(re.escape(end[1:]) for end in self.ends)])

    def break_up(self, text: str) -> str:
        """A text in which a server finds no token; `restored` makes it whole again."""
        return self.token.sub(rf"\1{BREAK}\2", text)


KNOWN = ChatTemplate()
"""The tokens of all known families."""


def restored(text: str, template: ChatTemplate = KNOWN) -> str:
    """An answer in which tokens that `break_up` changed are whole again."""
    return template.broken.sub(r"\1", text) if BREAK in text or r"\u200b" in text else text


def told_by_server(template: str, ends: Iterable[str] = ()) -> ChatTemplate:
    """The known tokens, and those that a model's own template adds.

    Args:
        template: The template, in any language: Jinja or Go.
        ends: Tokens that end a turn, as the server tells them.
    """
    tags = set(_THOUGHT_CLOSER.findall(template))
    pairs = [(opener, closer) for closer in sorted(tags) for opener in _openers(closer) if opener in tags]
    own = tuple((re.escape(opener), re.escape(closer)) for opener, closer in pairs)
    return ChatTemplate(
        (*_THOUGHT_TAGS, *own), tuple(end for end in sorted({*ends}) if re.fullmatch(rf"{_FIRST}\S+", end))
    )


def _openers(closer: str) -> set[str]:
    """The tags that a closing tag may belong to; empty for an opening tag."""
    pairs = (("/", ""), ("END", "START"), ("end", "start"), ("END", "BEGIN"), ("end", "begin"))
    return {closer.replace(end, start) for end, start in pairs if end in closer}
