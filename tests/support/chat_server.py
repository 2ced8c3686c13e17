"""An OpenAI-compatible server on this machine that can be told to misbehave."""

import http.server
import json
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.waiting import HANG_GUARD_SECONDS

REQUEST = re.compile(r'write (\d+) different .* class "(.+?)" in', re.S)


def sentence(spoken: str, number: int) -> str:
    """A description that nothing is wrong with; each number has its own."""
    return (
        f"A {spoken} numbered {number} lies alone on a quiet wooden floor in soft morning light "
        "beside a tall open window."
    )


class Server:
    """What was asked, and what is answered.

    `moves` are taken one a request; when there are none left the answer is a good one.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.moves: list[Callable[[Handler], None]] = []
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.release = threading.Event()
        self.written = 0
        self.always: Callable[[Handler], None] | None = None

    def good(self, count: int, spoken: str) -> list[str]:
        first = self.written
        self.written += count
        return [sentence(spoken, first + i) for i in range(count)]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    world: Server

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.world.requests.append(body)
        self.world.headers.append({**dict(self.headers.items()), "path": self.path})
        match = REQUEST.search(body["messages"][-1]["content"])
        self.count, self.spoken = int(match[1]), match[2]
        move = self.world.moves.pop(0) if self.world.moves else self.world.always
        (move or says())(self)

    def send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


def completion(text: Any, finish: str = "stop") -> bytes:
    message = {"role": "assistant", "content": text}
    return json.dumps({"choices": [{"message": message, "finish_reason": finish}]}).encode()


def numbered(texts: list[str]) -> str:
    return "\n".join(f"{i}. {text}" for i, text in enumerate(texts, start=1))


def says(
    change: Callable[[list[str]], list[str]] = lambda texts: texts,
    form: Callable[[list[str]], str] = numbered,
    finish: str = "stop",
) -> Callable[[Handler], None]:
    """Good descriptions, changed, in a form."""

    def move(handler: Handler) -> None:
        texts = change(handler.world.good(handler.count, handler.spoken))
        handler.send(200, completion(form(texts), finish))

    return move


def fails(status: int, content: bytes | dict = b"", **headers: str) -> Callable[[Handler], None]:
    if isinstance(content, dict):
        content = json.dumps(content).encode()
    return lambda handler: handler.send(
        status, content, {name.replace("_", "-"): value for name, value in headers.items()}
    )


def sends(content: bytes) -> Callable[[Handler], None]:
    """Any body at all, as a success."""
    return lambda handler: handler.send(200, content)


def hangs(handler: Handler) -> None:
    handler.world.release.wait(HANG_GUARD_SECONDS)
    handler.close_connection = True


def trickles(handler: Handler) -> None:
    """A byte at a time, never so late that one read would time out."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    try:
        while not handler.world.release.wait(0.001):
            handler.wfile.write(b" " * 20)
            handler.wfile.flush()
    except OSError:
        pass
    handler.close_connection = True


def _drip(handler: Handler, content: bytes) -> None:
    try:
        for number in range(len(content)):
            if handler.world.release.wait(0.001):
                break
            handler.wfile.write(content[number : number + 1])
            handler.wfile.flush()
        handler.world.release.wait(30)
    except OSError:
        pass
    handler.close_connection = True


def drips_status(handler: Handler) -> None:
    """A status line byte by byte, which does not end."""
    _drip(handler, b"HTTP/1.1 200 " + b"o" * 60_000)


def drips_headers(handler: Handler) -> None:
    """Header after header byte by byte."""
    _drip(handler, b"HTTP/1.1 200 OK\r\n" + b"X-More: and more\r\n" * 90)


def drips_content(handler: Handler) -> None:
    """A byte at a time, and never as many as the client reads at once."""
    _drip(handler, b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + b" " * 400)


def raw(content: bytes) -> Callable[[Handler], None]:
    """Any bytes at all in the place of an answer."""

    def move(handler: Handler) -> None:
        handler.wfile.write(content)
        handler.close_connection = True

    return move


def drops(handler: Handler) -> None:
    """Half of an answer, then a reset."""
    content = completion(numbered(["half"]))
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content[: len(content) // 2])
    handler.wfile.flush()
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True


@contextmanager
def running() -> Iterator[Server]:
    class Mine(Handler):
        pass

    class Quiet(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_):
            pass  # a client that gave up is part of the test

    httpd = Quiet(("127.0.0.1", 0), Mine)
    Mine.world = Server(f"http://127.0.0.1:{httpd.server_address[1]}/v1")
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield Mine.world
    finally:
        Mine.world.release.set()
        httpd.shutdown()
        httpd.server_close()
        thread.join(HANG_GUARD_SECONDS)
