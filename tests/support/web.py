"""HTTP server that test pods run: says who it is and what it got; fails or waits when asked to.

Query: `fail=N&key=K` answers 503 to the first N requests with that key; `sleep=S` waits S seconds, `held=PATH` until
that file is there. Port 0 is any that is free; which one is printed.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

seen: Counter[str] = Counter()
lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_GET(self) -> None:
        query = {key: values[-1] for key, values in parse_qs(urlsplit(self.path).query).items()}
        if "sleep" in query:
            time.sleep(float(query["sleep"]))
        while "held" in query and not os.path.exists(query["held"]):
            time.sleep(0.01)
        status = 200
        if "fail" in query:
            with lock:
                seen[query["key"]] += 1
                status = 503 if seen[query["key"]] <= int(query["fail"]) else 200
        body = json.dumps(
            {
                "version": os.environ.get("VERSION", ""),
                "pod": socket.gethostname(),
                "method": self.command,
                "path": self.path,
                "headers": {key.lower(): ",".join(self.headers.get_all(key, [])) for key in self.headers},
                "peer": self.client_address[0].removeprefix("::ffff:"),
                "tries": seen[query.get("key", "")],
            }
        ).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PUT = do_GET

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6
    request_queue_size = 1024

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


if __name__ == "__main__":
    server = Server(("::", int(sys.argv[1])), Handler)
    if sys.argv[1] == "0":
        print(server.server_address[1], flush=True)
    server.serve_forever()
