"""Errors as the OpenAI API tells them, so that every client of it understands ours."""

from collections.abc import Mapping
from typing import Any

JSON = "application/json"


class ApiError(Exception):
    """A request that is answered with an error. The message is one sentence for a person."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code
        self.headers = dict(headers or {})

    def document(self) -> dict[str, Any]:
        """`{"error": {message, type, param, code}}`"""
        return error_document(self.status, str(self), self.param, self.code)


def error_document(
    status: int, message: str, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """The body of an error, as a document."""
    kind = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}.get(
        status, "server_error" if status >= 500 else "invalid_request_error"
    )
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def too_many(message: str, seconds: int = 1) -> ApiError:
    """429: ask again after so many seconds."""
    return ApiError(429, message, code="rate_limit_exceeded", headers={"retry-after": str(seconds)})
