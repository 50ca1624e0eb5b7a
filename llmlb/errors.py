"""What can go wrong for a caller, each with its HTTP status and its OpenAI type and code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class OpenAIError:
    """The body of every error response: `{"error": {message, type, param, code}}`."""

    message: str
    type: str
    code: str | None
    param: str | None = None

    def as_json(self) -> dict[str, dict[str, str | None]]:
        """The JSON object that OpenAI clients expect."""
        return {
            "error": {
                "message": self.message,
                "type": self.type,
                "param": self.param,
                "code": self.code,
            }
        }


class LbError(Exception):
    """Base of all errors that a client may see; str(error) is safe to show."""

    status: ClassVar[int] = 500
    _type: ClassVar[str] = "server_error"
    _code: ClassVar[str] = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        self._own_code = code

    def http_status(self) -> int:
        """The status of the response that carries this error."""
        return self.status

    def error_type(self) -> str:
        """`error.type` in the OpenAI error object."""
        return self._type

    def error_code(self) -> str:
        """`error.code` in the OpenAI error object."""
        return self._own_code or self._code

    def openai(self) -> OpenAIError:
        """The response body of this error."""
        return OpenAIError(self.message, self.error_type(), self.error_code(), self.param)


class InternalError(LbError):
    """Something of ours broke; the log has the details under the request id."""


class InvalidRequest(LbError):
    """The request's own fault. `param` names the field."""

    status, _type, _code = 400, "invalid_request_error", "invalid_value"


class InvalidJson(InvalidRequest):
    """The body is not JSON, or not an object."""

    _code = "invalid_json"


class MissingField(InvalidRequest):
    """A field that has to be there is not. `param` names it."""

    _code = "missing_field"


class UnsupportedCapability(InvalidRequest):
    """The model, or the endpoint, cannot do what is asked of it."""

    _code = "unsupported_capability"


class SetupRequired(LbError):
    """There is no administrator yet, so only this machine itself is served."""

    status, _type, _code = 403, "permission_error", "setup_required"


class AuthenticationError(LbError):
    """Nobody says who is asking, or it cannot be true."""

    status, _type, _code = 401, "authentication_error", "invalid_api_key"


class MissingCredential(AuthenticationError):
    """The request has no credential that the route takes."""

    _code = "missing_api_key"


class ExpiredApiKey(AuthenticationError):
    """The key was right, and its time is over."""

    _code = "expired_api_key"


class InvalidSession(AuthenticationError):
    """The session has ended, or there never was one."""

    _code = "invalid_session"


class WrongPassword(AuthenticationError):
    """The name or the password is not right; nobody is told which."""

    _code = "invalid_credentials"


class PermissionDenied(LbError):
    """The key lacks the permission, or the role is too low."""

    status, _type, _code = 403, "permission_error", "insufficient_permissions"


class PasswordChangeRequired(LbError):
    """Somebody else has set the password, so it has to be changed first."""

    status, _type, _code = 403, "permission_error", "password_change_required"


class CsrfFailed(LbError):
    """A request with a cookie does not show that a page of the balancer's own has sent it."""

    status, _type, _code = 403, "permission_error", "csrf_failed"


class OriginNotAllowed(LbError):
    """A browser asks whether a page of another origin may call, and it may not."""

    status, _type, _code = 403, "permission_error", "origin_not_allowed"


class ModelNotFound(LbError):
    """No endpoint lists the model."""

    status, _type, _code = 404, "invalid_request_error", "model_not_found"

    def __init__(self, model: str, *, of_one: bool = False) -> None:
        """*of_one*: only one endpoint may be asked; others may have the model."""
        where = " on the only endpoint that may answer this" if of_one else ""
        super().__init__(f"The model '{model[:200]}' does not exist{where}.", param="model")


class NotFound(LbError):
    """There is no such route, or no such thing."""

    status, _type, _code = 404, "not_found_error", "not_found"


class MethodNotAllowed(LbError):
    """The route does not take the method; `Allow` names those that it takes."""

    status, _type, _code = 405, "invalid_request_error", "method_not_allowed"


class UnsupportedMediaType(LbError):
    """The body is of a kind that the route does not read."""

    status, _type, _code = 415, "invalid_request_error", "unsupported_media_type"


class RequestTimedOut(LbError):
    """The client did not send its request in time."""

    status, _type, _code = 408, "timeout_error", "request_timeout"


class Conflict(LbError):
    """The name or URL is taken, or the endpoint is not ours to edit."""

    status, _type, _code = 409, "invalid_request_error", "conflict"


class RequestTooLarge(LbError):
    """The body is larger than the limit."""

    status, _type, _code = 413, "invalid_request_error", "request_too_large"


class HeadersTooLarge(LbError):
    """The headers of the request are larger than 32 KiB."""

    status, _type, _code = 431, "invalid_request_error", "headers_too_large"


class QueueFull(LbError):
    """The line is full, or admission rejects."""

    status, _type, _code = 429, "rate_limit_error", "queue_full"


class RateLimitExceeded(LbError):
    """The key, or whoever tries to log in, has asked for more than the limit allows."""

    status, _type, _code = 429, "rate_limit_error", "rate_limit_exceeded"

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: int | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """*headers* tell the limits."""
        super().__init__(message, retry_after_s=retry_after_s)
        self.headers = headers


class UpstreamRateLimited(LbError):
    """Every endpoint of the model says 429, or has said when it may be asked again."""

    status, _type, _code = 429, "rate_limit_error", "upstream_rate_limited"


class EndpointRefusal(LbError):
    """What an endpoint said of the request itself, with the status that it said it with."""

    def __init__(self, status: int, said: OpenAIError) -> None:
        super().__init__(said.message, param=said.param, code=said.code)
        self._status, self._said = status, said

    def http_status(self) -> int:
        return self._status

    def error_type(self) -> str:
        return self._said.type

    def openai(self) -> OpenAIError:
        return self._said


class NotImplementedYet(LbError):
    """The route, or a field of the request, is not built yet, or an engine has no API for it."""

    status, _type, _code = 501, "invalid_request_error", "not_implemented"


class UpstreamError(LbError):
    """The endpoint answered, but badly."""

    status, _type, _code = 502, "upstream_error", "upstream_error"


class UpstreamUnreachable(LbError):
    """No endpoint of the model could be reached."""

    status, _type, _code = 502, "upstream_error", "upstream_unreachable"


class NoCapableEndpoints(LbError):
    """The model is known, but every endpoint of it is offline."""

    status, _type, _code = 503, "service_unavailable", "no_capable_endpoints"


class EndpointOffline(LbError):
    """The endpoint that is asked about something is offline."""

    status, _type, _code = 503, "service_unavailable", "endpoint_offline"


class Overloaded(LbError):
    """Too much at once: bytes of request bodies, streams, downloads, benchmarks."""

    status, _type, _code = 503, "service_unavailable", "overloaded"


class ShuttingDown(LbError):
    """The balancer is starting or stopping."""

    status, _type, _code = 503, "service_unavailable", "shutting_down"


class ResponseStateUnavailable(LbError):
    """Only one endpoint knows the response that the request builds on, and it is not there."""

    status, _type, _code = 503, "service_unavailable", "response_state_unavailable"


class StoreUnavailable(LbError):
    """The database did not take the change; nothing was changed."""

    status, _type, _code = 503, "service_unavailable", "store_unavailable"


class QueueTimeout(LbError):
    """The caller waited in line for as long as the settings allow."""

    status, _type, _code = 504, "timeout_error", "queue_timeout"


class UpstreamTimeout(LbError):
    """The endpoint was too slow."""

    status, _type, _code = 504, "timeout_error", "upstream_timeout"


class OwnTimeOver(LbError):
    """The client gave its request less time than the endpoint needed."""

    status, _type, _code = 504, "timeout_error", "upstream_timeout"


class LoopDetected(LbError):
    """The request came back to us."""

    status, _type, _code = 508, "upstream_error", "loop_detected"


def own_codes() -> frozenset[str]:
    """Every code that an error of ours has, as opposed to those that endpoints make up."""
    found, left = set[str](), [LbError]
    while left:
        cls = left.pop()
        found.add(cls._code)
        left += cls.__subclasses__()
    return frozenset(found)


class StartupError(Exception):
    """llmlb cannot start. str(error) is one sentence that says why and what to do."""


class ProbeFailed(Exception):
    """An endpoint did not answer a probe as it should. str(error) says why, for people."""

    answered: ClassVar[bool] = True
    """It did answer, if badly; a subclass for those that did not says False."""
