"""One finding: ask, judge, show what failed and ask again."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final, Protocol

from ..descriptions.sentence import Description, Polarity
from .answers import Answer, parse_answer
from .instruction import Instruction, Message, digest_of
from .members import Member, Origin
from .replies import MalformedReplyError, Reply, UnusableReplyError
from .validation import Problem, Requirements, judge_sentence

__all__ = ["Model", "Written", "write_finding"]

_BOTH: Final[tuple[Polarity, ...]] = ("positive", "negative")


class Model(Protocol):
    """What is needed of a language model."""

    model: str
    host: str

    async def ask(self, messages: Sequence[Message], *, attempt: int = 0) -> Reply:
        """Answer messages."""


@dataclass
class Written:
    """What came of one finding.

    Attributes:
        finding: Its name.
        members: Sentences to keep, positives first.
        refused: Faults, one for each rule that a sentence broke, and answers that
            held no sentence.
        reason: Why the finding is not finished; empty if it is.
        hint: What to do about that; empty where nothing is known.
        requests: Answers that came.
        tokens_in: Tokens of the prompts.
        tokens_out: Tokens of the answers.
    """

    finding: str
    members: tuple[Member, ...] = ()
    refused: list[Problem] = field(default_factory=list)
    reason: str = ""
    hint: str = ""
    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0


class _Sheet:
    """Sentences of one finding, as they come and are judged."""

    def __init__(self, finding: str, requirements: Requirements) -> None:
        self._finding = finding
        self._requirements = requirements
        self.kept: dict[Polarity, list[Member]] = {p: [] for p in _BOTH}
        self.spare: dict[Polarity, list[tuple[Member, list[Problem]]]] = {
            p: [] for p in _BOTH
        }

    @property
    def lacking(self) -> dict[Polarity, int]:
        n = self._requirements.n
        return {p: max(0, n - len(self.kept[p])) for p in _BOTH}

    def texts(self) -> list[str]:
        return [m.description.text for p in _BOTH for m in self.kept[p]]

    def take(self, polarity: Polarity, member: Member) -> list[Problem]:
        """Judge a sentence and keep it if it is good and still needed."""
        text = member.description.text
        problems = judge_sentence(
            self._finding, polarity, text, self._requirements, self.texts()
        )
        if problems:
            self.spare[polarity].append((member, problems))
        elif self.lacking[polarity]:
            self.kept[polarity].append(member)
        return problems

    def fill_up(self) -> None:
        """Keep sentences that broke rules, with the rules; never twice the same.

        Where there still are too few, each says ``count``.
        """
        for polarity in _BOTH:
            for member, problems in self.spare[polarity]:
                usable = "\0" not in member.description.text
                new = member.description.text not in self.texts()
                if self.lacking[polarity] and usable and new:
                    rules = tuple(dict.fromkeys(problem.rule for problem in problems))
                    self.kept[polarity].append(replace(member, accepted=rules))
            if self.lacking[polarity]:
                self.kept[polarity] = [
                    replace(member, accepted=(*member.accepted, "count"))
                    for member in self.kept[polarity]
                ]


async def write_finding(
    model: Model,
    instruction: Instruction,
    finding: str,
    requirements: Requirements,
    *,
    set_name: str,
    rounds: int = 3,
    accept_anyway: bool = False,
) -> Written:
    """Ask for a finding's sentences until there are enough good ones.

    An answer that is not of the protocol costs a round. A request that failed for good
    ends the finding unfinished, whatever `accept_anyway` says: later it may go well.

    Args:
        model: Who is asked.
        instruction: The template.
        finding: Its name.
        requirements: What the sentences must be, and how many of each polarity.
        set_name: The set that they will belong to.
        rounds: Times that are asked at most.
        accept_anyway: Fill up with sentences that failed; their faults are recorded.

    Raises:
        LanguageModelError: The model cannot be used.
    """
    sheet = _Sheet(finding, requirements)
    written = Written(finding)
    last: list[Problem] = []
    for attempt in range(rounds):
        if not any(sheet.lacking.values()):
            break
        messages = instruction.messages(
            finding, sheet.lacking, requirements, sheet.texts(), last
        )
        try:
            reply = await model.ask(messages, attempt=attempt)
        except MalformedReplyError as error:
            written.hint = error.hint
            last = [Problem("answer", "positive", "", error.message)]
            written.refused += last
            continue
        except UnusableReplyError as error:
            written.reason, written.hint = error.message, error.hint
            return written
        written.hint = ""
        written.requests += 1
        written.tokens_in += reply.tokens_in
        written.tokens_out += reply.tokens_out
        answer = parse_answer(reply.text)
        origin = _origin(model, instruction, messages, reply)
        last = _judged(sheet, finding, set_name, answer, origin)
        if not any(answer.values()):
            last = [_no_sentences(reply)]
        written.refused += last
    if accept_anyway and any(sheet.lacking.values()):
        sheet.fill_up()
    written.members = tuple(m for p in _BOTH for m in sheet.kept[p])
    if not (accept_anyway and all(sheet.kept.values())):
        written.reason = _reason(sheet.lacking, sheet.kept, requirements, last)
    return written


def _judged(
    sheet: _Sheet, finding: str, set_name: str, answer: Answer, origin: Origin
) -> list[Problem]:
    entries = []
    for polarity in _BOTH:
        for text in answer[polarity]:
            description = Description(
                set_name=set_name,
                finding=finding,
                polarity=polarity,
                text=text,
                generator="large language model",
                model=origin.resolved_model,
                created_at=origin.asked_at,
                instruction_digest=origin.template_digest,
                reviewed=False,
                edited=False,
                source=f"describe:{origin.host}",
            )
            entries += sheet.take(polarity, Member(description, origin))
    return entries


def _origin(
    model: Model,
    instruction: Instruction,
    messages: Sequence[Message],
    reply: Reply,
) -> Origin:
    return Origin(
        requested_model=model.model,
        resolved_model=reply.resolved_model,
        host=model.host,
        parameters=reply.parameters,
        seed=reply.seed,
        template=instruction.template,
        template_version=instruction.version,
        template_digest=instruction.digest,
        prompt_digest=digest_of(messages),
        asked_at=datetime.now(UTC).isoformat(timespec="seconds"),
        response_digest=reply.response_digest,
    )


def _no_sentences(reply: Reply) -> Problem:
    if reply.refusal:
        reason = f"the model refused: {_short(reply.refusal)}"
    elif reply.cut:
        reason = "the answer was cut off before its first sentence ended"
    else:
        said = _short(reply.text) or "nothing"
        reason = f"no sentences under 'positive' and 'negative'; it said: {said}"
    return Problem("answer", "positive", "", reason)


def _short(text: str) -> str:
    return json.dumps(" ".join(text.split())[:120], ensure_ascii=False) if text else ""


def _reason(
    lacking: Mapping[Polarity, int],
    kept: Mapping[Polarity, Sequence[Member]],
    requirements: Requirements,
    last: Sequence[Problem],
) -> str:
    """Why there are too few sentences; empty if there are enough."""
    if not any(lacking.values()):
        return ""
    counts = " and ".join(
        f"{len(kept[polarity])} of {requirements.n} {polarity}" for polarity in _BOTH
    )
    rules = ", ".join(sorted({problem.rule for problem in last})) or "too few came"
    if last and last[-1].rule == "answer":
        rules = last[-1].reason
    return f"only {counts} sentences could be used ({rules})"
