"""One worker process: `python -m llmcf.service.worker DATASET FOLDER DESCRIPTOR [ADMIN_DESCRIPTOR]`.

The sockets are already listening; the second is where the service is looked after.
"""

import socket
import sys
from ipaddress import ip_address
from pathlib import Path


def main() -> None:
    from core import memory

    memory.collect_rarely()
    import uvicorn

    from llmcf.feature_store import opening
    from llmcf.service import state
    from llmcf.service.app import create_app
    from llmcf.service.protocol import Protocol

    dataset, place = sys.argv[1], Path(sys.argv[2])
    listening, *admin = (socket.socket(fileno=int(descriptor)) for descriptor in sys.argv[3:])
    opening.import_feast()
    state.await_serving(place)
    loopback = ip_address(listening.getsockname()[0]).is_loopback
    admin_port = admin[0].getsockname()[1] if admin else None
    config = uvicorn.Config(
        create_app(dataset, place, loopback=loopback, admin_port=admin_port),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
        http=Protocol,
        h11_max_incomplete_event_size=16_384,
    )
    uvicorn.Server(config).run(sockets=[listening, *admin])


if __name__ == "__main__":
    main()
