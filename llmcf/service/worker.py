"""One worker process: `python -m llmcf.service.worker DATASET FOLDER DESCRIPTOR`; the socket is already listening."""

import socket
import sys
from ipaddress import ip_address
from pathlib import Path


def main() -> None:
    import uvicorn

    from llmcf.service.app import create_app
    from llmcf.service.protocol import Protocol

    dataset, place, descriptor = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    listening = socket.socket(fileno=descriptor)
    loopback = ip_address(listening.getsockname()[0]).is_loopback
    config = uvicorn.Config(
        create_app(dataset, place, loopback=loopback),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
        http=Protocol,
        h11_max_incomplete_event_size=16_384,
    )
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
