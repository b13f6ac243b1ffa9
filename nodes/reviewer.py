"""The reviewer reads the code against the requirements and says what must change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

from pydantic import BaseModel, Field, field_validator

from swarm_graph.roles.findings import GRAVE, distinct
from swarm_graph.roles.role import SHARED_OF_CHANGE, Answered, Role
from swarm_graph.state import AgentRole, ChangeState, Finding, Reply, Review, Severity

SYNONYMS = {
    "blocker": "critical",
    "high": "major",
    "medium": "minor",
    "low": "minor",
    "nit": "info",
    "note": "info",
}
FORM = ("path:line or path:function", "path:line", "path:function", "...", "…")
"""What stands in the prompt in the place of a location and a suggestion."""


# The docstrings and names of these classes are part of the JSON schema that goes to the server, and so of the
# key under which the journal finds an answer: after a change, a resumed session asks again.


class Remark(BaseModel):
    """One finding as a model writes it. The bounds are for the server's grammar, not for us."""

    severity: Severity = "major"
    location: str = Field("", json_schema_extra={"maxLength": 200})
    problem: str = Field(min_length=1, json_schema_extra={"maxLength": 1000})
    suggestion: str = Field("", json_schema_extra={"maxLength": 1000})

    @field_validator("severity", mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        """An unknown word for a severity must not make the whole review unreadable."""
        word = value.strip().lower() if isinstance(value, str) else ""
        return SYNONYMS.get(word, word if word in get_args(Severity) else "major")

    @field_validator("location", "suggestion", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        """Neither must a null, or a line number that is not a string."""
        return "" if value is None else str(value) if isinstance(value, int) else value

    @field_validator("location", "suggestion")
    @classmethod
    def _filled_in(cls, value: str) -> str:
        """What weak models copy from the form in the prompt names no place and gives no advice."""
        return "" if value.strip() in FORM else value


class Judgement(BaseModel):
    """What a reviewer answers."""

    findings: list[Remark] = Field(json_schema_extra={"maxItems": 20})
    approved: bool

    @property
    def counts_only_alone(self) -> bool:
        # An approval that stands in a longer text may be quoted; a refusal may be read out of it.
        return self.approved


class Unjudged(Judgement):
    """Stands for an answer that nobody could read; no model is asked for one."""

    approved: bool | None = None  # type: ignore[assignment]


def update(answered: Answered[Judgement]) -> dict[str, Any]:
    findings = [
        Finding(
            severity=remark.severity,
            location=remark.location,
            problem=remark.problem,
            suggestion=remark.suggestion,
            seen_by=[answered.node],
        )
        for remark in answered.answer.findings
    ]
    grave = any(finding["severity"] in GRAVE for finding in findings)
    review = Review(
        node=answered.node,
        iteration=max(answered.iteration, 1),
        approved=False if grave else answered.answer.approved,
        findings=distinct(findings),
    )
    return {"reviews": [review]}


def substitute(reply: Reply) -> Judgement:
    """A review that could not be understood is no approval."""
    what = f"was cut off after {reply.output_tokens} tokens" if reply.truncated else "could not be read"
    problem = f"The answer of this review {what}, so it counts as no approval."
    return Unjudged(findings=[Remark(severity="info", problem=problem)])


_program = Role(
    AgentRole.REVIEWER,
    task_type="review",
    verb="review",
    reads=("request", "requirements", "code"),
    writes="reviews",
    answer=Judgement,
    update=update,
    substitute=substitute,
    text_file="review_results.txt",
)
reviewer = replace(
    _program,
    change=replace(
        _program,
        reads=SHARED_OF_CHANGE,
        optional=("repository_map",),
        state=ChangeState,
    ),
)
