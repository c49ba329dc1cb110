"""Any OpenAI-compatible server, vLLM's above all: the engine for machines that serve their model to many workers.

LLMCF_LLM_URL names it (`http://host:port/v1`), LLMCF_LLM_KEY authorises. It must serve the model that the verb names,
under that model's digest, as `llmcf llm serve` does, or its folder's path, as vLLM does by itself: texts are kept as
that model's.
"""

import queue
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from core import settings
from core.errors import LlmcfError, Missing, Unavailable, UsageError
from llm import models
from llm.engines.base import Generation, Request, Sampling

WINDOW = 32
TIMEOUT_S = 120.0  # of one request
ATTEMPTS = 5
_BUSY = frozenset({408, 429, 500, 502, 503, 504})  # worth another try, later


class ServerEngine:
    """Requests go out in parallel; a failed one is tried again after a growing, random pause."""

    name = "server"
    window = WINDOW

    def __init__(self, model: Path, sampling: Sampling, *, timeout: float = TIMEOUT_S, pause: float = 1.0) -> None:
        self._folder, self._sampling, self._timeout, self._pause = model, sampling, timeout, pause
        self._url = settings.llm_url()
        self._pool: ThreadPoolExecutor | None = None
        self._done: queue.SimpleQueue[Future[Generation]] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        import httpx

        key = settings.llm_key()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(base_url=self._url, timeout=self._timeout, headers=headers)
        try:
            told = self._client.get("/models").raise_for_status().json()["data"]
            served = [str(one["id"]) for one in told]
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            self._client.close()
            raise Unavailable(f"no model server answers at {self._url} (LLMCF_LLM_URL): {error}") from None
        try:
            self._model = self._of(served)
        except UsageError:
            self._client.close()
            raise
        self._pool = ThreadPoolExecutor(WINDOW, thread_name_prefix="llm")
        return self

    def _of(self, served: list[str]) -> str:
        """The id under which the server has the model."""
        if (path := str(self._folder)) in served:
            return path
        with suppress(Missing):  # a machine that asks need not have the model
            if (digest := models.model_hash(self._folder)) in served:
                return digest
        raise UsageError(
            f"{self._url} (LLMCF_LLM_URL) serves {', '.join(served)[:200] or 'nothing'}, not {path}; start it by "
            "`llmcf llm serve`, or with that path as the model's name"
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True, wait=kind is None)
        self._client.close()

    def submit(self, request: Request) -> None:
        """See `Engine.submit`."""
        assert self._pool, "use the engine in a with statement"
        self._pool.submit(self._ask, request).add_done_callback(self._done.put)

    def poll(self) -> Generation:
        """See `Engine.poll`."""
        import httpx

        try:
            return self._done.get().result()
        except httpx.HTTPStatusError as error:
            said = error.response.text[:200]
            raise LlmcfError(f"{self._url} answered {error.response.status_code}: {said}") from None
        except (httpx.HTTPError, KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise Unavailable(f"{self._url} failed {ATTEMPTS} times ({reason}); finished texts are kept") from None

    def _ask(self, request: Request) -> Generation:
        import httpx
        from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

        def passing(error: BaseException) -> bool:
            if isinstance(error, httpx.HTTPStatusError):
                return error.response.status_code in _BUSY
            return isinstance(error, httpx.TransportError)

        retry = Retrying(
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_random_exponential(self._pause, max=30 * self._pause),
            retry=retry_if_exception(passing),
            reraise=True,
        )
        body = retry(lambda: self._client.post("/completions", json=self._body(request)).raise_for_status().json())
        choice = body["choices"][0]
        tokens = int((body.get("usage") or {}).get("completion_tokens") or 0)
        finish = "stop" if choice.get("finish_reason") == "stop" else "length"
        return Generation(number=request.number, text=choice["text"], tokens=tokens, finish=finish)

    def _body(self, request: Request) -> dict[str, Any]:
        """No seed: vLLM's CPU engine dies of one. `top_k` and what is after it are vLLM's additions."""
        return {
            "model": self._model,
            "prompt": request.prompt,
            "max_tokens": request.max_new_tokens,
            "min_tokens": min(request.min_new_tokens, request.max_new_tokens),
            "temperature": self._sampling.temperature,
            "top_p": 1.0,  # what is not said, the server takes from the model's generation_config.json
            "top_k": self._sampling.top_k,
            "min_p": 0.0,
            "repetition_penalty": self._sampling.repetition_penalty,
            "stop": list(request.stop) or None,
            "include_stop_str_in_output": True,
            "add_special_tokens": False,
        }
