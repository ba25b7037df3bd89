"""The API server as the harness asks it: JSON over HTTPS, one connection a question. No client library is involved."""

from __future__ import annotations

import http.client
import json
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GUARD_SECONDS = 120  # against hanging, and nothing else


class ApiError(AssertionError):
    """The API server did not answer, or not with what was asked for: "not yet" for `eventually`."""


@dataclass(frozen=True, slots=True)
class Api:
    """One user's way to the API server. host, port: where it is dialled; authority: file with the certificate."""

    host: str
    port: int
    authority: Path
    token: str

    @property
    def url(self) -> str:
        """For clients of all kinds."""
        return f"https://{self.host}:{self.port}"

    def text(self, path: str, method: str = "GET", body: object = None, content_type: str = "application/json") -> str:
        """What is answered. Raises ApiError, for a status of 300 or more too."""
        context = ssl.create_default_context(cafile=str(self.authority))
        made = http.client.HTTPSConnection(self.host, self.port, timeout=GUARD_SECONDS, context=context)
        headers = {"Authorization": f"Bearer {self.token}", "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = content_type
        try:
            made.request(method, path, None if body is None else json.dumps(body), headers)
            answer = made.getresponse()
            text = answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            raise ApiError(f"{method} {self.url}{path}: {error}") from None
        finally:
            made.close()
        if answer.status >= 300:
            raise ApiError(f"{method} {path}: {answer.status} {text.strip()[:500]}")
        return text

    def get(self, path: str) -> dict[str, Any]:
        """An object, or a list of them. Raises ApiError."""
        value: dict[str, Any] = json.loads(self.text(path))
        return value

    def items(self, path: str) -> list[dict[str, Any]]:
        """The objects of a list. Raises ApiError."""
        found: list[dict[str, Any]] = self.get(path)["items"]
        return found


def condition(thing: dict[str, Any], kind: str) -> str:
    """Status of an object's condition of this type; "" if it says nothing of it."""
    found = [c["status"] for c in thing.get("status", {}).get("conditions", ()) if c["type"] == kind]
    return str(found[0]) if found else ""
