"""moto's S3 server with conditional writes that are one step, as S3 has them: moto looks, then writes, in many threads."""

from __future__ import annotations

import sys
import threading
from typing import Any


def main(port: int) -> None:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from moto.s3.responses import S3Response
    from werkzeug.serving import run_simple

    lock, put = threading.Lock(), S3Response.put_object

    def put_object(self: Any, *args: Any, **options: Any) -> Any:
        with lock:
            return put(self, *args, **options)

    S3Response.put_object = put_object
    application = DomainDispatcherApplication(create_backend_app)
    run_simple("127.0.0.1", port, application, threaded=True, request_handler=MotoRequestHandler)


if __name__ == "__main__":
    main(int(sys.argv[1]))
