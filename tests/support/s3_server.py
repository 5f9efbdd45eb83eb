"""moto's S3 server with conditional writes that are one step, as S3 has them: moto looks, then writes, in many threads.

python s3_server.py PORT [LOG]      LOG: a file that gets a line of JSON for each request (see s3_log)
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any


def logged(application: Callable[..., Iterable[bytes]], path: str) -> Callable[..., Iterable[bytes]]:
    """The application, which notes what it is asked for."""
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
    application = DomainDispatcherApplication(create_backend_app)
    served = application if log is None else logged(application, log)
    run_simple("127.0.0.1", port, served, threaded=True, request_handler=MotoRequestHandler)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
