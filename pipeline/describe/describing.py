"""The stage `describe`: findings in, a named set of judged sentences out."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from retune.store import FeatureStore
from retune.store.description_sets import (
    SetRow,
    list_sets,
    read_drafts,
    save_draft,
)
from retune.store.errors import ConfigurationError, LanguageModelError
from retune.store.plural import counted

from ..descriptions.sentence import Polarity, content_digest
from ..findings import NO_FINDING, spelling_key
from ..progress import Progress, ProgressCallback, silent
from .event_loop import run_to_end
from .instruction import Instruction, load_instruction
from .language_model import LanguageModel, Sampling, host_of
from .members import (
    Member,
    check_free_name,
    member_from_json,
    member_to_json,
    publish,
)
from .validation import Problem, Requirements
from .writing import Written, write_finding

__all__ = ["DescribeRequest", "DescribeSummary", "describe", "planned_messages"]

_BOTH: Final[tuple[Polarity, ...]] = ("positive", "negative")


@dataclass(frozen=True)
class DescribeRequest:
    """What a user asks for.

    Attributes:
        findings: Names, in order.
        model: As the server knows it.
        base_url: URL of the server.
        n: Sentences per finding and polarity.
        requirements: Language and length; its `n` is not looked at.
        sampling: How to ask.
        instruction: The template.
        rounds: Times that a finding is asked about, the first included.
        concurrency: Requests at a time.
        accept_anyway: Fill up with sentences that failed, and record their faults.
        set_name: None: of the model and a digest of the request.
    """

    findings: tuple[str, ...]
    model: str
    base_url: str
    n: int = 12
    requirements: Requirements = field(default_factory=Requirements)
    sampling: Sampling = field(default_factory=Sampling)
    instruction: Instruction = field(default_factory=load_instruction)
    rounds: int = 3
    concurrency: int = 4
    accept_anyway: bool = False
    set_name: str | None = None

    def __post_init__(self) -> None:
        host_of(self.base_url)
        if not self.findings:
            raise ConfigurationError(
                "no finding is named",
                'Name some with `findings`, such as "Edema,Rib fracture".',
            )
        keys = [spelling_key(name) for name in self.findings]
        for name, key in zip(self.findings, keys, strict=True):
            if key in ("", spelling_key(NO_FINDING)):
                raise ConfigurationError(f"{name!r} is not a finding", "Leave it out.")
            if keys.count(key) > 1:
                raise ConfigurationError(f"{name!r} is named twice", "Name it once.")
        check_free_name(self.name)

    @property
    def digest(self) -> str:
        """Of everything that shapes the sentences; 32 hexadecimal characters.

        Time limits, repeats, concurrency and what is done with failures are not part
        of it, so that they may be changed when a request is resumed.
        """
        sampling = asdict(self.sampling)
        del sampling["timeout_seconds"], sampling["retries"]
        content = {
            "findings": self.findings,
            "model": self.model,
            "host": host_of(self.base_url),
            "n": self.n,
            "requirements": asdict(self.requirements),
            "sampling": sampling,
            "instruction": self.instruction.digest,
        }
        return content_digest(json.dumps(content, sort_keys=True))

    @property
    def name(self) -> str:
        """Of the set."""
        if self.set_name is not None:
            return self.set_name
        model = "".join(c if c.isalnum() and c.isascii() else "-" for c in self.model)
        return f"{model.strip('-') or 'model'}-{self.digest[:6]}"


@dataclass
class DescribeSummary:
    """What a `describe` did.

    Attributes:
        set_name: The set.
        findings: Number of findings in it.
        sentences: Number of sentences in it.
        resumed: Findings that were finished before.
        accepted: Sentences that broke a rule, or are too few, and were kept.
        refused: Faults that were found.
        requests: Answers that came.
        tokens_in: Tokens of the prompts, as the server counts.
        tokens_out: Tokens of the answers.
        already_there: The set was whole before; nothing was asked.
    """

    set_name: str
    findings: int = 0
    sentences: int = 0
    resumed: int = 0
    accepted: int = 0
    refused: int = 0
    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    already_there: bool = False


def planned_messages(
    request: DescribeRequest,
) -> dict[str, Sequence[dict[str, str]]]:
    """What would be sent first about each finding; nothing is sent."""
    lacking = dict.fromkeys(_BOTH, request.n)
    return {
        finding: [
            dict(message)
            for message in request.instruction.messages(
                finding, lacking, request.requirements
            )
        ]
        for finding in request.findings
    }


def describe(
    store: FeatureStore,
    request: DescribeRequest,
    progress: ProgressCallback = silent,
    on_refused: Callable[[str, Problem], None] | None = None,
) -> DescribeSummary:
    """Ask a language model for descriptions and enter them as a set.

    Each finished finding is kept at once; the same call later goes on with the rest.
    The set appears when it is whole.

    Args:
        store: Where the set goes.
        request: What to ask.
        progress: Told after each finding.
        on_refused: Called with each sentence that cannot be used.

    Raises:
        ConfigurationError: The name is taken, or `openai` is missing.
        LanguageModelError: The server cannot be used, or some findings could not be
            finished; the message names them and why.
        StoreBusyError: Another process holds the catalog.
        StoreWriteError: The disk refused; finished findings are kept.
    """
    summary = DescribeSummary(request.name)
    finished = _finished(store, request, summary)
    if summary.already_there:
        return summary
    summary.resumed = len(finished)
    unfinished = [name for name in request.findings if name not in finished]

    def keep(written: Written) -> None:
        _count(summary, written)
        if on_refused is not None:
            for problem in written.refused:
                on_refused(written.finding, problem)
        if not written.reason:
            finished[written.finding] = written.members
            save_draft(
                store,
                request.name,
                request.digest,
                written.finding,
                json.dumps([member_to_json(member) for member in written.members]),
            )
        note = f"{summary.tokens_out:,} tokens written"
        progress(Progress("findings", len(finished), len(request.findings), note))

    if unfinished:
        reasons = run_to_end(_ask_all(request, unfinished, keep))
        if reasons:
            raise _unfinished(reasons, len(finished), summary)
    return _publish(store, request, finished, summary)


def _finished(
    store: FeatureStore, request: DescribeRequest, summary: DescribeSummary
) -> dict[str, tuple[Member, ...]]:
    """Findings of earlier calls; marks a summary whose set is whole."""
    rows = {row.set_name: row for row in list_sets(store)}
    if request.name in rows:
        if request.set_name is not None:
            raise ConfigurationError(
                f"the store {store.path} has a description set '{request.name}' "
                "already, and sets never change",
                "Choose another name with `set_name`.",
            )
        # The name holds the digest of the request: it is the same one.
        summary.already_there = True
        summary.sentences = rows[request.name].n_sentences
        summary.findings = len(request.findings)
        return {}
    drafts = read_drafts(store, request.name, request.digest)
    return {
        finding: tuple(member_from_json(entry) for entry in json.loads(content))
        for finding, content in drafts.items()
    }


async def _ask_all(
    request: DescribeRequest,
    findings: Sequence[str],
    keep: Callable[[Written], None],
) -> dict[str, Written]:
    """Ask about each finding, some at a time; gives those that failed, and why."""
    turns = asyncio.Semaphore(request.concurrency)
    failed: dict[str, Written] = {}

    async def write(model: LanguageModel, finding: str) -> None:
        async with turns:
            written = await write_finding(
                model,
                request.instruction,
                finding,
                replace(request.requirements, n=request.n),
                set_name=request.name,
                rounds=request.rounds,
                accept_anyway=request.accept_anyway,
            )
        keep(written)
        if written.reason:
            failed[finding] = written

    model = LanguageModel(request.model, request.base_url, request.sampling)
    async with model:
        await _run_all([write(model, finding) for finding in findings])
    return {name: failed[name] for name in findings if name in failed}


async def _run_all(work: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run all; the first error, or Ctrl-C, ends the others at once."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        for done in asyncio.as_completed(tasks):
            await done
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _count(summary: DescribeSummary, written: Written) -> None:
    summary.refused += len(written.refused)
    summary.requests += written.requests
    summary.tokens_in += written.tokens_in
    summary.tokens_out += written.tokens_out


def _unfinished(
    failed: dict[str, Written], n_finished: int, summary: DescribeSummary
) -> LanguageModelError:
    lines = "; ".join(f"{name}: {written.reason}" for name, written in failed.items())
    hints = {written.hint for written in failed.values() if written.hint}
    hint = (
        f"{counted(n_finished, 'finding', 'are')} kept. The same command asks for the "
        "rest"
    )
    if not all(written.hint for written in failed.values()):
        hint += "; `accept_anyway` fills up with what failed, and records it"
    spent = (
        f"{summary.requests} answers came: {summary.tokens_in:,} tokens in, "
        f"{summary.tokens_out:,} out."
    )
    return LanguageModelError(
        f"{counted(len(failed), 'finding')} could not be finished. {lines}",
        " ".join([*sorted(hints), f"{hint}.", spent]),
    )


def _publish(
    store: FeatureStore,
    request: DescribeRequest,
    finished: dict[str, tuple[Member, ...]],
    summary: DescribeSummary,
) -> DescribeSummary:
    members = [member for name in request.findings for member in finished[name]]
    row: SetRow = publish(
        store,
        members,
        made_by="describe",
        language=request.requirements.language,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    summary.findings = len(request.findings)
    summary.sentences = row.n_sentences
    summary.accepted = sum(bool(member.accepted) for member in members)
    return summary
