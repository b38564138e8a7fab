"""What the simulator answers when it does not answer 200."""

from typing import Any


class Trouble(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, code: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.status = status
        self.body: Any = {"code": code, "message": message, "data": {"status": status, **more}}


class NoPage(Trouble):
    """The web server's own 404: WordPress was never asked."""

    def __init__(self) -> None:
        super().__init__(404, "", "")
        self.body = b"<!DOCTYPE html><html><body><h1>Not Found</h1></body></html>"
