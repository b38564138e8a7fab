"""Signatures of the Standard Webhooks form: https://www.standardwebhooks.com.

Signed is `id.timestamp.body`; the timestamp is that of each sending, as receivers refuse old ones.
"""

import base64
import hashlib
import hmac
import time
from collections.abc import Generator
from typing import Any

from connectors.http import Auth, Request


def signature(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    signed = b".".join([message_id.encode(), str(timestamp).encode(), body])
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


class Signature(Auth):
    """Signs each sending anew; the message's id stays."""

    requires_request_body = True

    def __init__(self, key: bytes) -> None:
        self._key = key

    def auth_flow(self, request: Request) -> Generator[Request, Any, None]:
        now = int(time.time())
        if message_id := request.headers.get("webhook-id"):
            request.headers["webhook-timestamp"] = str(now)
            request.headers["webhook-signature"] = signature(self._key, message_id, now, request.content)
        yield request
