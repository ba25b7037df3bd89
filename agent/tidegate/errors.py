"""Errors by what the caller should do about them.

Every error says which object it is about (subject), what is wrong (reason) and what to do (remedy), because the
person who reads it is paged at night and has never seen our source.
"""

from __future__ import annotations


class TidegateError(Exception):
    """Base of every error that is meant to be read by a user."""

    def __init__(self, subject: str, reason: str, remedy: str = "") -> None:
        self.subject = subject
        self.reason = reason
        self.remedy = remedy
        super().__init__(f"{subject}: {reason}" + (f"; {remedy}" if remedy else ""))


class Rejected(TidegateError):
    """The input is wrong and stays wrong until somebody changes it: do not retry."""


class Transient(TidegateError):
    """The world is not ready: the same call may succeed later."""


class Fatal(TidegateError):
    """This process cannot do its job here (missing capability, kernel too old): stop with exit code 4."""


class Unreachable(TidegateError):
    """The agent or the lab does not answer: exit code 3."""
