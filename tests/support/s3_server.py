"""moto's S3 server with atomic conditional writes, as in S3; moto itself checks and then writes, in many threads.

python s3_server.py PORT [LOG]      LOG: a file that gets a line of JSON for each request (see s3_log)

A POST to /-/attack sets which of the changing requests below a prefix fails, and how (see attacked.py); the answer has the
number of such requests since the last POST.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

Application = Callable[..., Iterable[bytes]]
CONTROL = "/-/attack"
CHANGES = ("PUT", "POST", "DELETE")
REFUSED = ("403 Forbidden", b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>")
LOST = ("500 Internal Server Error", b"<Error><Code>InternalError</Code><Message>It was done.</Message></Error>")


class Attacked:
    """The application with one failing change, or with all changes from it on failing."""

    def __init__(self, application: Application):
        self.application, self.lock = application, threading.Lock()
        self.prefix, self.position, self.how, self.count = "", -1, "", 0

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == CONTROL:
            return self._control(environ, start_response)
        with self.lock:
            how = self._how(environ)
        if how == "lost":
            b"".join(self.application(environ, lambda *_: lambda _: None))
        if not how:
            return self.application(environ, start_response)
        status, body = LOST if how == "lost" else REFUSED
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
        return [body]

    def _how(self, environ: dict[str, Any]) -> str:
        """Return how this request fails, "" if it does not. A request that deletes several objects has them in its body."""
        if self.position < 0 and not self.prefix:
            return ""
        path, deletes = environ["PATH_INFO"], environ.get("QUERY_STRING", "").startswith("delete")
        if environ["REQUEST_METHOD"] in CHANGES and (path.startswith(self.prefix) or deletes):
            number, self.count = self.count, self.count + 1
            if number == self.position:
                return self.how
        return "dead" if self.how == "dead" and 0 <= self.position < self.count else ""

    def _control(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        asked = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        with self.lock:
            body = json.dumps({"count": self.count}).encode()
            self.prefix, self.position, self.how, self.count = asked["prefix"], asked["place"], asked["how"], 0
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]


def logged(application: Application, path: str) -> Application:
    """Return the application with a log of its requests."""
    lock = threading.Lock()

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        def begin(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            sizes = [int(value) for name, value in headers if name.lower() == "content-length"]
            note = {
                "method": environ["REQUEST_METHOD"],
                "path": environ["PATH_INFO"],
                "received": int(environ.get("CONTENT_LENGTH") or 0),
                "sent": 0 if environ["REQUEST_METHOD"] == "HEAD" else sum(sizes),
            }
            with lock, open(path, "a") as stream:
                stream.write(json.dumps(note) + "\n")
            return start_response(status, headers, *rest)

        return application(environ, begin)

    return answer


def main(port: int, log: str | None = None) -> None:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from moto.s3.responses import S3Response
    from werkzeug.serving import run_simple

    lock, put = threading.Lock(), S3Response.put_object

    def put_object(self: Any, *args: Any, **options: Any) -> Any:
        with lock:
            return put(self, *args, **options)

    S3Response.put_object = put_object
    application = Attacked(DomainDispatcherApplication(create_backend_app))
    served = application if log is None else logged(application, log)
    run_simple("127.0.0.1", port, served, threaded=True, request_handler=MotoRequestHandler)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
