"""One worker process: `python -m llmcf.service.worker DATASET FOLDER DESCRIPTOR`; the socket is already listening."""

import socket
import sys
from pathlib import Path


def main() -> None:
    import uvicorn

    from llmcf.service.app import create_app

    dataset, place, descriptor = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    config = uvicorn.Config(
        create_app(dataset, place),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
        limit_concurrency=512,
        h11_max_incomplete_event_size=16_384,
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=descriptor)])


if __name__ == "__main__":
    main()
