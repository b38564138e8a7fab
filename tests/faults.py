"""Kills: stop a run before or after its n-th step, as `kill -9` would, and let the next one go on."""

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from connectors.http import Api
from state.db import Database

STEPS = ((Database, "run"), (Api, "_exchange"))
"""What is done step by step: transactions and requests."""


class Killed(BaseException):
    """What a killed process cannot catch."""


class Life:
    """Counts steps (transactions and requests, before and after each) and kills at step `at`."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.steps = 0
        self.killed = False

    def step(self) -> None:
        """Pass one step, or die there and at every step that follows."""
        self.steps += 1
        if self.killed or self.steps == self.at:
            self.killed = True
            raise Killed


def kill_at(at: int, monkeypatch: pytest.MonkeyPatch) -> Life:
    """Let everything die at step `at` from now on, until the patches are undone."""
    life = Life(at)
    for owner, name in STEPS:
        monkeypatch.setattr(owner, name, _guarded(getattr(owner, name), life))
    return life


def _guarded(original: Callable[..., Any], life: Life) -> Callable[..., Any]:
    async def guarded(*arguments: Any, **options: Any) -> Any:
        life.step()
        result = await original(*arguments, **options)
        life.step()
        return result

    return guarded


def kill_after(steps: int) -> None:
    """Let the system kill this very process once so many transactions and requests are done."""
    left = steps

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        async def wrapped(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            result = await original(*arguments, **options)
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return wrapped

    for owner, name in STEPS:
        setattr(owner, name, counted(getattr(owner, name)))
