"""A Triton server that outlives a release: the next one is loaded beside it, answers a canary, and then takes over.

Versions come and go in the folder that the server polls (llmcf/serving/triton_server.py); which of them a request
means is said by the request. Safe for threads.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import RLock

import numpy as np

from core import deadlines
from core.errors import LlmcfError, Unavailable
from llmcf.serving import triton_config
from llmcf.serving.manifest import Release
from llmcf.serving.triton_client import Canary, Client
from llmcf.serving.triton_server import Hosting, Server, host_triton

_WITHIN_S = 60.0  # to load or to drop a version: Triton looks every second
_POLL_S = 0.05
CANARY_S = 5.0  # that an answer of all models of a release may take
_WARM_S = 20.0  # that the first answers of a release may take
_SILENT = 3  # looks in a row without an answer


def nothing() -> None:
    """Where there is nothing to be done meanwhile."""


class Host:
    """The releases that one server has loaded, by number."""

    def __init__(self, hosting: Hosting) -> None:
        self._hosting, self._place = hosting, hosting.place
        self._lock = RLock()
        self._canaries: dict[int, tuple[Release, Canary]] = {}

    @property
    def server(self) -> Server:
        return self._hosting.server

    @property
    def ended(self) -> bool:
        """Whether the server itself has died, and not a model process of it."""
        return self._hosting.ended

    @property
    def up(self) -> bool:
        """Whether the server says that it is ready with all its releases."""
        return self._hosting.up

    def restart(self) -> None:
        """End the server, if it has not ended, and start it on its ports; `up` says when it has all its releases again.

        Errors as of `Hosting.again`.
        """
        with self._lock:
            self._hosting.again()

    def warm(self) -> None:
        """Have each release answer a first request as large as the service's, whose memory later ones use again.

        Raises:
            LlmcfError: if one does not.
        """
        for release, _ in list(self._canaries.values()):
            _warm(self.server, release)

    @property
    def releases(self) -> list[int]:
        """Numbers of those that are loaded and have answered their canary."""
        return sorted(self._canaries)

    def add(self, release: Release, meanwhile: Callable[[], object] = nothing) -> None:
        """Load a release beside the others, try it and warm it; one that fails is taken away again.

        Args:
            meanwhile: is called now and then while the server loads.

        Raises:
            LlmcfError: if a file of it is damaged, or its canary fails.
            Unavailable: if the server does not load it in time, or does not answer.
        """
        with self._lock:
            if release.number in self._canaries:
                return
            release.require_whole()
            self._place.show(release.models, release.versions)
            try:
                self._wait(release, meanwhile)
                bird = Canary(release.models, release.stages)
                _ask(bird, self.server, _WARM_S)
                _warm(self.server, release)
            except BaseException:
                self._place.hide(release.versions)
                raise
            self._canaries[release.number] = release, bird

    def remove(self, number: int) -> None:
        """Let go of a release; requests that it is computing are answered."""
        with self._lock:
            release, _ = self._canaries.pop(number)
            self._place.hide(release.versions)

    def check(self, number: int) -> None:
        """Ask a release its canary again, for seconds; errors as of `Canary.check`, Unavailable where none answers."""
        _ask(self._canaries[number][1], self.server)

    def renew(self, number: int) -> None:
        """Have the models loaded anew after a death that Triton itself does not notice: within seconds they answer."""
        with self._lock:
            self._place.renew(self._canaries[number][0].versions)

    def revive(self, number: int, meanwhile: Callable[[], object] = nothing) -> None:
        """Ask a release its canary, and where it fails load its models anew, until they answer.

        Errors as of `Canary.check`; `meanwhile` as of `add`.
        """
        with suppress(LlmcfError):
            self.check(number)
            return
        self.renew(number)
        end = time.monotonic() + _WITHIN_S
        while True:
            try:
                self.check(number)
                _warm(self.server, self._canaries[number][0])
                return
            except LlmcfError:
                if self.ended or time.monotonic() > end:
                    raise
            meanwhile()
            time.sleep(_POLL_S)

    def _wait(self, release: Release, meanwhile: Callable[[], object]) -> None:
        wanted, end, silent = set(release.versions.items()), time.monotonic() + _WITHIN_S, 0
        with Client(self.server, release.stages) as client:
            while True:
                try:
                    with deadlines.within(CANARY_S):
                        loaded = client.loaded()
                    silent = 0
                except Unavailable:
                    silent += 1
                    if silent == _SILENT or self.ended:
                        raise
                    loaded = set[tuple[str, int]]()
                if wanted <= loaded:
                    return
                if time.monotonic() > end:
                    raise Unavailable(f"Triton has not loaded release {release.number}; see {self.server.log}")
                meanwhile()
                time.sleep(_POLL_S)


def _ask(bird: Canary, server: Server, seconds: float = CANARY_S) -> None:
    with deadlines.within(seconds):
        bird.check(server)


def _warm(server: Server, release: Release) -> None:
    with deadlines.within(_WARM_S), Client(server, release.stages) as client:
        for name, stage in release.stages.items():
            rows = triton_config.WARM[name]
            client.infer(name, {one.name: np.zeros((rows, *one.shape), one.dtype) for one in stage.inputs})


@contextmanager
def host(
    release: Release, *, http_port: int | None = None, grpc_port: int | None = None, metrics_port: int | None = None
) -> Iterator[Host]:
    """A server of `release`, tried, until the block ends.

    Raises:
        LlmcfError: as of `host_triton` and `Host.add`.
    """
    release.require_whole()
    with host_triton(
        release.models, release.versions, http_port=http_port, grpc_port=grpc_port, metrics_port=metrics_port
    ) as hosting:
        made = Host(hosting)
        made.add(release)
        yield made
