"""The container's own question after its health, asked as Docker asks it."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

RECIPE = (Path(__file__).parents[1] / "Dockerfile").read_text()


@contextmanager
def answering(status: int) -> Iterator[int]:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("status", [200, 503])
def test_the_health_check_asks_the_worker_itself_whatever_proxy_the_environment_names(status: int) -> None:
    _, _, question = json.loads(RECIPE.split("    CMD ")[1].splitlines()[0])
    nowhere = dict.fromkeys(("http_proxy", "HTTP_PROXY", "all_proxy"), "http://127.0.0.1:9")

    with answering(status) as port:
        command = [sys.executable, "-I", "-c", question.replace("8080", str(port))]
        asked = subprocess.run(command, env={**os.environ, **nowhere}, check=False, capture_output=True)

    assert (asked.returncode == 0) is (status == 200)
