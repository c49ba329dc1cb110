"""One worker process: `python -m llmcf.service.worker DATASET DESCRIPTOR`, where the socket is already listening."""

import socket
import sys


def main() -> None:
    import uvicorn

    from llmcf.service.app import create_app

    dataset, descriptor = sys.argv[1], int(sys.argv[2])
    config = uvicorn.Config(
        create_app(dataset),
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
