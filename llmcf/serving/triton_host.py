"""A Triton server that outlives a release: the next one is loaded beside it, answers a canary, and then takes over.

Versions come and go in the folder that the server polls (llmcf/serving/triton_server.py); which of them a request
means is said by the request. Safe for threads.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

from core.errors import LlmcfError, Unavailable
from llmcf.serving.manifest import Release
from llmcf.serving.triton_client import Canary, Client
from llmcf.serving.triton_server import Hosting, Server, host_triton

_WITHIN_S = 60.0  # to load or to drop a version: Triton looks every second
_POLL_S = 0.05


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

    def restart(self) -> None:
        """Start a server that has died, on its ports and with all its releases; errors as of `run_triton`."""
        with self._lock:
            self._hosting.again()

    @property
    def releases(self) -> list[int]:
        """Numbers of those that are loaded and have answered their canary."""
        return sorted(self._canaries)

    def add(self, release: Release) -> None:
        """Load a release beside the others and try it; one that fails is taken away again.

        Raises:
            LlmcfError: if a file of it is damaged, or its canary fails.
            Unavailable: if the server does not load it in time.
        """
        with self._lock:
            if release.number in self._canaries:
                return
            release.require_whole()
            self._place.show(release.models, release.versions)
            try:
                self._wait(release)
                bird = Canary(release.models, release.stages)
                bird.check(self.server)
            except LlmcfError:
                self._place.hide(release.versions)
                raise
            self._canaries[release.number] = release, bird

    def remove(self, number: int) -> None:
        """Let go of a release; requests that it is computing are answered."""
        with self._lock:
            release, _ = self._canaries.pop(number)
            self._place.hide(release.versions)

    def check(self, number: int) -> None:
        """Ask a release its canary again; errors as of `Canary.check`."""
        self._canaries[number][1].check(self.server)

    def revive(self, number: int) -> None:
        """Load the models anew after a death that Triton itself does not notice; errors as of `Canary.check`."""
        with self._lock:
            release, bird = self._canaries[number]
            self._place.renew(release.versions)
            end = time.monotonic() + _WITHIN_S
            while True:
                try:
                    bird.check(self.server)
                    return
                except LlmcfError:
                    if self.ended or time.monotonic() > end:
                        raise
                time.sleep(_POLL_S)

    def _wait(self, release: Release) -> None:
        wanted, end = set(release.versions.items()), time.monotonic() + _WITHIN_S
        with Client(self.server, release.stages) as client:
            while not wanted <= client.loaded():
                if time.monotonic() > end:
                    raise Unavailable(f"Triton has not loaded release {release.number}; see {self.server.log}")
                time.sleep(_POLL_S)


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
