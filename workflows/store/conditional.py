"""Conditional writes to S3: they succeed only if the file does not exist, or still has the content that was read.

PyArrow 26 has none: `open_output_stream` sends no If-None-Match, whatever its metadata (checked on the wire). S3 has had
them since 2024 (If-None-Match on PutObject, then If-Match), and so have MinIO, Ceph and moto. boto3 sends both. A store
that ignores the condition has no exclusive writes; writing one object twice shows it.
"""

from __future__ import annotations

import threading
import time
import uuid
from typing import Any

from pyarrow import fs

# Limits of a request: after a minute a store that does not answer counts as unreachable.
ANSWER_S, CONNECT_S, ATTEMPTS = 20.0, 5.0, 3
TRIES = 10  # of a write that S3 answers with 409: another conditional write to the same key is under way
TRY_AGAIN_S = 0.1


class ConditionalWriter:
    """Conditional writes with the credentials and the endpoint of a PyArrow filesystem; paths are BUCKET/KEY."""

    def __init__(self, options: dict[str, Any]):
        self.options = options
        self._lock = threading.Lock()
        self._client: Any = None

    @property
    def client(self) -> Any:
        """Return boto3's client, created on first use because importing it takes 0.4 s."""
        with self._lock:
            if self._client is None:
                self._client = _make_client(self.options)
        return self._client

    def create(self, path: str, content: bytes) -> bool:
        """Create an object unless it exists.

        A write whose answer was lost is sent again and then refused, so the existing object is compared with `content`.
        """
        return self._put(path, content, IfNoneMatch="*") or self._get(path)[0] == content

    def take_over(self, path: str, expected: bytes, content: bytes) -> bool:
        """Replace an object if its content is still `expected`."""
        current, tag = self._get(path)
        if current != expected:
            return False
        return self._put(path, content, IfMatch=tag) or self._get(path)[0] == content

    def read(self, path: str) -> bytes | None:
        """Return the content of an object; None if it does not exist."""
        return self._get(path)[0]

    def _get(self, path: str) -> tuple[bytes | None, str]:
        """Return the content of an object and its tag; None if it does not exist."""
        from botocore.exceptions import BotoCoreError, ClientError

        bucket, _, key = path.partition("/")
        try:
            response = self.client.get_object(Bucket=bucket, Key=key)
            return response["Body"].read(), response["ETag"]
        except ClientError as error:
            if _status(error) == 404:
                return None, ""
            raise OSError(f"{path}: {error}") from None
        except BotoCoreError as error:
            raise OSError(f"{path}: {error}") from None

    def _put(self, path: str, content: bytes, **condition: str) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError

        bucket, _, key = path.partition("/")
        for _ in range(TRIES):
            try:
                self.client.put_object(Bucket=bucket, Key=key, Body=content, **condition)
            except ClientError as error:
                status = _status(error)
                if status == 412 or error.response["Error"].get("Code") == "NoSuchKey":
                    return False
                if status != 409:
                    raise OSError(f"{path}: {error}") from None
            except BotoCoreError as error:
                raise OSError(f"{path}: {error}") from None
            else:
                return True
            time.sleep(TRY_AGAIN_S)
        return False

    def delete(self, path: str) -> None:
        """Delete an object. PyArrow would leave an empty object (a folder) in place of the last one of a prefix."""
        from botocore.exceptions import BotoCoreError, ClientError

        bucket, _, key = path.partition("/")
        try:
            self.client.delete_object(Bucket=bucket, Key=key)
        except (BotoCoreError, ClientError) as error:
            raise OSError(f"{path}: {error}") from None

    def keeps_conditions(self, prefix: str) -> bool:
        """Return whether the object store refuses to create an existing object."""
        path = f"{prefix}/leases/.exclusive-{uuid.uuid4().hex[:8]}"
        try:
            return self.create(path, b"first") and not self.create(path, b"second")
        except OSError:
            return False
        finally:
            self.delete(path)


def _status(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def conditional_writer(filesystem: fs.FileSystem) -> ConditionalWriter | None:
    """Return the conditional writer for a filesystem; None if it is not S3."""
    if not isinstance(filesystem, fs.S3FileSystem):
        return None
    _, (options,) = filesystem.__reduce__()
    return ConditionalWriter(options)


def _make_client(options: dict[str, Any]) -> Any:
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config

    endpoint = options["endpoint_override"] or None
    if endpoint and "://" not in endpoint:
        endpoint = f"{options['scheme']}://{endpoint}"
    style = "virtual" if options["force_virtual_addressing"] or endpoint is None else "path"
    config = Config(
        signature_version=UNSIGNED if options["anonymous"] else None,
        s3={"addressing_style": style},
        connect_timeout=CONNECT_S,
        read_timeout=ANSWER_S,
        retries={"mode": "standard", "max_attempts": ATTEMPTS},
    )
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=options["region"] or None,
        aws_access_key_id=options["access_key"] or None,
        aws_secret_access_key=options["secret_key"] or None,
        aws_session_token=options["session_token"] or None,
        config=config,
    )
