"""The one place that speaks to a language model's server, by the `openai` client.

Repeats after 408, 409, 429, 5xx, a timeout or a lost connection are the client's own:
exponential back-off from half a second to eight, with jitter, or what the server's
`Retry-After` says.
"""

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

from retune.store.errors import ConfigurationError, LanguageModelError

from .answers import ANSWER_SCHEMA
from .instruction import Message
from .replies import Reply, UnusableReplyError, read_reply

if TYPE_CHECKING:
    import httpx2
    import openai

__all__ = ["LanguageModel", "Sampling", "host_of"]

#: Where the key may stand; the first that is set is taken.
_KEY_NAMES: Final = ("RETUNE_LLM_KEY", "OPENAI_API_KEY")
#: The longest `Retry-After` that the client obeys.
_LONGEST_PAUSE_SECONDS: Final = 60.0
#: The headers that leave this machine. The client would add operating system,
#: processor, Python version and an organisation's name.
_HEADERS: Final = frozenset(
    (
        *("host", "accept", "accept-encoding", "authorization", "connection"),
        *("content-length", "content-type", "user-agent"),
    )
)
_SCHEMA_FORM: Final[Mapping[str, Any]] = {
    "type": "json_schema",
    "json_schema": {"name": "descriptions", "strict": True, "schema": ANSWER_SCHEMA},
}
#: From the strictest form of answer to none; a server that refuses one gets the next.
_FORMS: Final[Mapping[str, Mapping[str, Any] | None]] = {
    "schema": _SCHEMA_FORM,
    "json": {"type": "json_object"},
    "text": None,
}
#: Words of a server that means the form, whatever status it gives: some answer 404 or
#: 500 where the protocol would have 400.
_FORM_WORDS: Final = ("response_format", "json_schema", "grammar", "structured output")


@dataclass(frozen=True)
class Sampling:
    """How a model is asked.

    Attributes:
        temperature: None leaves it to the server.
        seed: None sends none.
        max_output_tokens: Most tokens in an answer; None leaves it to the server.
        timeout_seconds: For one request.
        retries: After a failure that may pass.
    """

    temperature: float | None = 0.7
    seed: int | None = 0
    max_output_tokens: int | None = None
    timeout_seconds: float = 120.0
    retries: int = 4


def host_of(base_url: str) -> str:
    """Host and port of a server's address.

    Raises:
        ConfigurationError: It is no http address, or holds more than host and path. A
            password would stand in the shell's history and go out instead of the key.

    >>> host_of("http://localhost:11434/v1")
    'localhost:11434'
    >>> host_of("http://[::1]:8000/v1")
    '[::1]:8000'
    """
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(
            f"`base_url` {base_url!r} is not the address of a server",
            "Write it like http://localhost:11434/v1 (Ollama) or "
            "http://localhost:8000/v1 (vLLM).",
        )
    if "@" in parts.netloc or parts.query or parts.fragment:
        # Not shown: it may hold a secret.
        raise ConfigurationError(
            f"`base_url` of {parts.hostname} holds a user name, a password or a query",
            f"Give host and path alone; put a key into {' or '.join(_KEY_NAMES)}.",
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return host if port is None else f"{host}:{port}"


class LanguageModel:
    """A model behind a server that speaks OpenAI's chat protocol.

    Use it as an asynchronous context manager.

    Args:
        model: As the server knows it.
        base_url: URL of the server, with ``/v1``.
        sampling: How to ask.

    Raises:
        ConfigurationError: The `openai` package is missing, or the address is wrong.
    """

    def __init__(self, model: str, base_url: str, sampling: Sampling) -> None:
        self.model = model
        self.host: str = host_of(base_url)
        self.sampling = sampling
        self._form = "schema"
        self._dropped: set[str] = set()
        self._client = _client(base_url, sampling)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.close()

    async def ask(self, messages: Sequence[Message], *, attempt: int = 0) -> Reply:
        """Send messages and wait for the answer.

        A form of answer or a parameter that the server refuses is left out from then
        on.

        Args:
            messages: All that is sent.
            attempt: Added to the seed, so that asking again is not asking the same.

        Raises:
            LanguageModelError: The server cannot be used at all.
            MalformedReplyError: What came is not of the protocol.
            UnusableReplyError: This request failed for good; another may not.
        """
        import httpx2
        import openai

        while True:
            form, options = self._form, self._options(attempt)
            try:
                async with asyncio.timeout(self._patience_seconds()):
                    response = await self._client.post(
                        "/chat/completions",
                        cast_to=httpx2.Response,
                        body={
                            "model": self.model,
                            "messages": [dict(message) for message in messages],
                            **options,
                        },
                    )
                return read_reply(response.content, form, options, self.model)
            except openai.APIStatusError as error:
                if not self._give_way(error, form, options):
                    raise self._refused(error) from error
            except (openai.APITimeoutError, TimeoutError) as error:
                raise UnusableReplyError(
                    f"{self.host} did not answer within "
                    f"{self.sampling.timeout_seconds:g} s",
                    "Give it more time with `timeout`.",
                ) from error
            except openai.APIConnectionError as error:
                raise UnusableReplyError(
                    f"the connection to {self.host} failed: {error.__cause__ or error}",
                    "Is the server running, and is `base_url` right?",
                ) from error

    def _patience_seconds(self) -> float:
        """For a request with its repeats.

        The client's own limit is for each part of a response, so that a server that
        sends a byte now and then would hold it for ever.
        """
        sampling = self.sampling
        pauses = sampling.retries * _LONGEST_PAUSE_SECONDS
        return (sampling.retries + 1) * sampling.timeout_seconds + pauses

    def _options(self, attempt: int) -> dict[str, Any]:
        sampling = self.sampling
        seed = None if sampling.seed is None else sampling.seed + attempt
        options = {
            "response_format": _FORMS[self._form],
            "temperature": sampling.temperature,
            "seed": seed,
            "max_tokens": sampling.max_output_tokens,
        }
        return {
            name: value
            for name, value in options.items()
            if value is not None and name not in self._dropped
        }

    def _give_way(
        self, error: "openai.APIStatusError", form: str, options: Mapping[str, Any]
    ) -> bool:
        """Ask for less next time; False if that is not what the server means."""
        said = str(error)
        means_form = any(word in said.casefold() for word in _FORM_WORDS)
        if error.status_code not in (400, 422) and not means_form:
            return False
        for name in ("temperature", "seed", "max_tokens"):
            if name in options and name in said:
                self._dropped.add(name)
                return True
        if form != self._form:
            return True  # a request beside this one has given way already
        forms = list(_FORMS)
        if form == forms[-1]:
            return False
        self._form = forms[forms.index(form) + 1]
        return True

    def _refused(self, error: "openai.APIStatusError") -> LanguageModelError:
        code = error.status_code
        what = f"{self.host} answered {code}: {_said(error)}"
        if code in (401, 403):
            hint = f"Put the server's key into {' or '.join(_KEY_NAMES)}."
        elif code == 404:
            hint = f"Is there a model '{self.model}', and does `base_url` end in /v1?"
        elif code in (400, 422):
            hint = "The server refuses the request; does it have this model?"
        else:
            return UnusableReplyError(
                what, "The server is busy or broken. Run the same command again later."
            )
        return LanguageModelError(what, hint)


def _client(base_url: str, sampling: Sampling) -> "openai.AsyncOpenAI":
    try:
        import openai
    except ImportError as error:
        raise ConfigurationError(
            "asking a language model needs the package openai",
            "pip install 'retune-cli[llm]'",
        ) from error

    async def keep_to_ourselves(request: "httpx2.Request") -> None:
        for name in list(request.headers):
            if name.lower() not in _HEADERS:
                del request.headers[name]
        request.headers["user-agent"] = "retune"

    keys = [os.environ[name] for name in _KEY_NAMES if os.environ.get(name)]
    return openai.AsyncOpenAI(
        api_key=keys[0] if keys else "none",
        base_url=base_url,
        timeout=sampling.timeout_seconds,
        max_retries=sampling.retries,
        http_client=openai.DefaultAsyncHttpxClient(
            event_hooks={"request": [keep_to_ourselves]},
            timeout=sampling.timeout_seconds,
        ),
    )


def _said(error: "openai.APIStatusError") -> str:
    """The server's own words, on one line and not too many."""
    body = error.body
    message = body.get("message") if isinstance(body, dict) else None
    return " ".join(str(message or error.message).split())[:300]
