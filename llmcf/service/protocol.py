"""HTTP as uvicorn reads it; but what it cannot read is answered as a problem, too, with a request's id."""

import asyncio
import json

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from llmcf.service import problems
from llmcf.service.middleware import REQUEST_ID, new_id
from llmcf.service.problems import Problem


class Protocol(AutoHTTPProtocol):
    """Of one connection."""

    transport: asyncio.Transport

    def send_400_response(self, msg: str) -> None:
        """In place of uvicorn's plain text; the connection ends."""
        del msg
        identity = new_id()
        body = json.dumps(Problem(400, "no-http", "this is no HTTP request").body(identity)).encode()
        told = {
            "content-type": problems.MEDIA_TYPE,
            "content-length": len(body),
            REQUEST_ID.lower(): identity,
            "connection": "close",
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
        self.transport.write(f"HTTP/1.1 400 Bad Request\r\n{lines}\r\n".encode() + body)
        self.transport.close()
