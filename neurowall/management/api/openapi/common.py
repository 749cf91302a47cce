# SPDX-License-Identifier: Apache-2.0
"""What answers are made of."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Moment = Annotated[
    str, Field(description="UTC, RFC 3339.", json_schema_extra={"format": "date-time"}, min_length=20)
]
Seconds = Annotated[float, Field(ge=0, description="Seconds.")]
Count = Annotated[int, Field(ge=0)]
Generation = Annotated[int, Field(ge=0, description="The number of a successful change.")]
Verdict = Literal["pass", "drop"]
ListVerdict = Literal["block", "allow"]


class Answer(BaseModel):
    """A JSON object with these members and no others."""

    model_config = ConfigDict(extra="forbid")


class Counted(Answer):
    """What a counter of the kernel says."""

    packets: Count
    bytes: Count


class Ends(Answer):
    """When something ends by itself; both null if it does not."""

    expires: Moment | None
    remaining_seconds: Seconds | None


class Difference(Answer):
    """One difference between two policies. name: of the rule, list ...; text: what differs."""

    sign: Literal["+", "-", "~"]
    part: str
    name: str
    text: str


class Pending(Answer):
    """The policy in force is taken back in so many seconds unless it is confirmed."""

    seconds: Seconds
    generation: Generation
    revert_to: Generation


class WrongInput(BaseModel):
    """What is wrong with a request, by the place where it stands: a field, or a line of a list."""

    model_config = ConfigDict(extra="forbid")

    why: str
    field: str = ""
    text: str = ""
    line: int = 0


class Problem(BaseModel):
    """RFC 9457. type says what it is, for programs; detail says it to people, with the next step.

    Some types have members of their own, such as `capacity`, `scope` or `reverted`.
    """

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:neurowall:problem:no-such-list",
                    "title": "No such list",
                    "status": 404,
                    "detail": "there is no list 'feed'; there are operator-block, operator-allow",
                    "instance": "urn:neurowall:request:6f1c2a9b0d3e4f57",
                }
            ]
        },
    )

    type: str = Field(pattern="^urn:neurowall:problem:[a-z0-9-]+$")
    title: str
    status: int = Field(ge=400, le=599)
    detail: str
    instance: str = Field(default="", pattern="^urn:neurowall:request:[A-Za-z0-9._-]{1,64}$")
    errors: list[WrongInput] = Field(default=[], description="The first 100 of what is wrong.")
    error_count: int = Field(default=0, description="How many there are.")


def example(model: type[BaseModel]) -> Any:
    """The first example of a model, if it has one."""
    extra = model.model_config.get("json_schema_extra")
    return next(iter(extra.get("examples", [])), None) if isinstance(extra, dict) else None  # type: ignore[arg-type]
