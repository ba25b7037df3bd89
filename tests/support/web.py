"""HTTP server that test pods run: says who it is and what it got; fails or waits when asked to.

Query: `fail=N&key=K` answers 503 to the first N requests with that key, `unavailable=N&key=K` as a gRPC server that is
unavailable; `sleep=S` waits S seconds, `held=PATH` until that file is there, with `first=N` only the first N requests
with that key; with `by=POD` only that pod does it.
Its arguments are the ports that it listens on; 0 is any that is free, and which one is printed.
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
holding: set[int] = set()  # who waits for a file
lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_GET(self) -> None:
        query = {key: values[-1] for key, values in parse_qs(urlsplit(self.path).query).items()}
        if query.get("by", socket.gethostname()) != socket.gethostname():
            query = {}
        if "sleep" in query:
            time.sleep(float(query["sleep"]))
        with lock:
            seen[query.get("key", "")] += "key" in query
            tries = seen[query.get("key", "")]
        waited = "held" in query and not os.path.exists(query["held"]) and tries <= int(query.get("first", tries))
        if waited:
            holding.add(threading.get_ident())
            while not os.path.exists(query["held"]):
                time.sleep(0.01)
            holding.discard(threading.get_ident())
        status = 503 if "fail" in query and tries <= int(query["fail"]) else 200
        body = json.dumps(
            {
                "version": os.environ.get("VERSION", ""),
                "pod": socket.gethostname(),
                "method": self.command,
                "path": self.path,
                "headers": {key.lower(): ",".join(self.headers.get_all(key, [])) for key in self.headers},
                "peer": self.client_address[0].removeprefix("::ffff:"),
                "connection": self.client_address[1],
                "tries": tries,
                "waited": waited,
                "holding": len(holding),
            }
        ).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        if "unavailable" in query and tries <= int(query["unavailable"]):
            self.send_header("grpc-status", "14")
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
    servers = [Server(("::", int(port)), Handler) for port in sys.argv[1:]]
    if sys.argv[1] == "0":
        print(servers[0].server_address[1], flush=True)
    for server in servers[1:]:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    servers[0].serve_forever()
