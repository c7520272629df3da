"""What a server answered, in OpenAI's chat protocol."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from retune.store.errors import LanguageModelError

__all__ = ["MalformedReplyError", "Reply", "UnusableReplyError", "read_reply"]


@dataclass(frozen=True)
class Reply:
    """What came back.

    Attributes:
        text: Text of the answer; empty if it refused.
        refusal: What it said instead, or empty.
        cut: Whether the answer ended at the limit of its length.
        resolved_model: As the server names what answered.
        parameters: What was sent with the messages, as JSON.
        seed: What was sent.
        response_digest: Digest of the response's bytes.
        tokens_in: Tokens of the prompt, as the server counts.
        tokens_out: Tokens of the answer.
    """

    text: str
    refusal: str
    cut: bool
    resolved_model: str
    parameters: str
    seed: int | None
    response_digest: str
    tokens_in: int
    tokens_out: int


class UnusableReplyError(LanguageModelError):
    """One answer failed; another request may do."""


class MalformedReplyError(UnusableReplyError):
    """The server is there, but what came is not of the protocol."""


def read_reply(body: bytes, form: str, options: Mapping[str, Any], model: str) -> Reply:
    """Read a response of the protocol, taking nothing for granted.

    Args:
        body: The response's bytes.
        form: Form of the answer that was asked for.
        options: What was sent with model, messages and form.
        model: Stands in where the server does not say what answered.

    Raises:
        MalformedReplyError: It is not of the protocol.
    """
    try:
        content = json.loads(body)
        choice = content["choices"][0]
        message = choice["message"]
        text, refusal = message.get("content"), message.get("refusal")
        usage = content.get("usage") or {}
        return Reply(
            text=text if isinstance(text, str) else "",
            refusal=refusal if isinstance(refusal, str) else "",
            cut=choice.get("finish_reason") == "length",
            resolved_model=str(content.get("model") or model),
            parameters=json.dumps({**options, "response_format": form}, sort_keys=True),
            seed=options.get("seed"),
            response_digest=hashlib.blake2b(body, digest_size=16).hexdigest(),
            tokens_in=int(usage.get("prompt_tokens") or 0),
            tokens_out=int(usage.get("completion_tokens") or 0),
        )
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise MalformedReplyError(
            f"the server's answer is not of OpenAI's chat protocol ({error!r})",
            "Is `base_url` the address of the API, with /v1 at its end?",
        ) from error
