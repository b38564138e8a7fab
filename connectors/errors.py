"""Every way in which an outside system can fail us.

ConnectorError
├── Retryable            later it may work: the run ends, the work stays where it is
│   ├── Unreachable      no connection, a time-out, a body that broke off
│   ├── Throttled        told to wait
│   └── RemoteFault      5xx, or an answer that is not what the API sends
└── Permanent            asking again changes nothing
    ├── Refused          stops the sync: key, right, plan or audience
    └── BadRecord        one record: becomes one dead letter
"""

from collections.abc import Mapping


class ConnectorError(Exception):
    """Base of all; its text is for the owner and holds neither secrets nor personal data."""


class Retryable(ConnectorError):
    """`retry_after` is the pause in seconds that the other end asked for, where it did."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unreachable(Retryable):
    """`sent` is False when the request surely never reached the other end."""

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent


class Throttled(Retryable):
    pass


class RemoteFault(Retryable):
    pass


class Permanent(ConnectorError):
    pass


class Refused(Permanent):
    """What the vendor answered is kept for connectors that can do something about it."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        self.body = body

    @property
    def is_page(self) -> bool:
        """Whether a web page came, as firewalls answer before the vendor is asked: no word of the vendor's."""
        return b"<html" in self.body[:1000].lower() or b"<!doctype html" in self.body[:1000].lower()


class BadRecord(Permanent):
    """One record that cannot be read. `record` is vendor's kind and id ("order 727"), `reason` has no values."""

    def __init__(self, record: str, reason: str) -> None:
        super().__init__(f"{record}: {reason}")
        self.record = record
        self.reason = reason
