"""A proxy before a server that loses connections and answers of its own, in the order that a test gives."""

from __future__ import annotations

import http.client
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HOPS = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}


class FlakyProxy:
    """Forwards requests to a port of this machine; what happens to each is taken from `plan`.

    `pass` forwards; `drop_before` closes the connection before the server sees the request; `drop_after` when the
    server has answered, so that it has done the work; `cut` gives half of the answer; a number is a status of the
    proxy's own, with a page of HTML; `(status, headers)` the same with headers. An empty plan passes everything.
    """

    def __init__(self, port: int) -> None:
        self.plan: deque[Any] = deque()
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                proxy.seen.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
                action = proxy.plan.popleft() if proxy.plan else "pass"
                if action == "drop_before":
                    self.close_connection = True
                    return
                if isinstance(action, (int, tuple)):
                    status, headers = action if isinstance(action, tuple) else (action, {})
                    self.reply(status, {"Content-Type": "text/html", **headers}, b"<html>no</html>")
                    return
                upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
                sent = {k: v for k, v in self.headers.items() if k.lower() not in HOPS}
                upstream.request(self.command, self.path, body, sent)
                found = upstream.getresponse()
                content = found.read()
                upstream.close()
                if action == "drop_after":
                    self.close_connection = True
                    return
                kept = {k: v for k, v in found.getheaders() if k.lower() not in HOPS}
                self.reply(found.status, kept, content, cut=action == "cut")

            def reply(self, status: int, headers: dict[str, str], content: bytes, *, cut: bool = False) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) // 2] if cut else content)
                self.close_connection |= cut

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
