"""What of an uploaded form decides its way; the rest of it is the endpoint's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from llmlb.errors import InvalidRequest, MissingField, UnsupportedMediaType
from llmlb.http.inference import Call, Remember
from llmlb.http.intake.form import Form
from llmlb.http.openai.dialects import dialect_for
from llmlb.types import Api, Capability, Endpoint, EndpointId

FILE_OF: Mapping[Api, str] = MappingProxyType(
    {
        Api.TRANSCRIPTION: "file",
        Api.TRANSLATION: "file",
        Api.IMAGE_EDIT: "image",
        Api.IMAGE_VARIATION: "image",
    }
)
"""The routes that take a form, and the file that each cannot do without."""

_NEEDS = {
    Api.TRANSCRIPTION: Capability.AUDIO_TRANSCRIPTION,
    Api.TRANSLATION: Capability.AUDIO_TRANSCRIPTION,
    Api.IMAGE_EDIT: Capability.IMAGE_GENERATION,
    Api.IMAGE_VARIATION: Capability.IMAGE_GENERATION,
}

_STREAMED = frozenset({Api.TRANSCRIPTION, Api.IMAGE_EDIT})

_SAID = {"true": True, "1": True, "false": False, "0": False, "": False}

_MOST_IMAGES = 100


@dataclass(frozen=True, slots=True)
class FormRequest:
    """One inference request with an upload."""

    api: Api
    path: str
    model: str
    stream: bool
    choices: int
    form: Form
    remembered: bool = False

    @property
    def needs(self) -> frozenset[Capability]:
        return frozenset({_NEEDS[self.api]})

    def beyond(self, offering: Iterable[Endpoint]) -> frozenset[EndpointId]:  # noqa: ARG002
        return frozenset()

    def call_to(
        self,
        endpoint: Endpoint,  # noqa: ARG002 - the same for every endpoint
        model: str,
        named: str,  # noqa: ARG002 - these answers name no model
        remember: Remember,
    ) -> Call:
        payload = self.form.payload({"model": model})
        return Call(
            self.path,
            dialect_for(self.api, remember),
            payload,
            stream=self.stream,
            choices=self.choices,
            content_type=payload.content_type,
        )


def parse_form(api: Api, path: str, body: bytes | Form) -> FormRequest:
    """Read what routing needs of the form.

    Raises UnsupportedMediaType, MissingField, InvalidRequest.
    """
    if not isinstance(body, Form):
        raise UnsupportedMediaType(f"{path} takes a form: send it as multipart/form-data.")
    model = body.value("model")
    if not model:
        raise MissingField("'model' is required.", param="model")
    if not body.has_file(FILE_OF[api]):
        raise MissingField(f"'{FILE_OF[api]}' is required, as a file.", param=FILE_OF[api])
    if api is Api.IMAGE_EDIT and not body.value("prompt"):
        raise MissingField("'prompt' is required.", param="prompt")
    return FormRequest(
        api=api,
        path=path,
        model=model,
        stream=api in _STREAMED and _stream(body),
        choices=_choices(body) if api is Api.IMAGE_EDIT else 1,
        form=body,
    )


def _stream(form: Form) -> bool:
    said = (form.value("stream") or "").strip().lower()
    if said not in _SAID:
        raise InvalidRequest("'stream' must be true or false.", param="stream")
    return _SAID[said]


def _choices(form: Form) -> int:
    said = (form.value("n") or "1").strip()
    if not said.isascii() or not said.isdigit() or len(said) > 3:
        return 1  # the endpoint will say what it thinks of that
    return max(1, min(int(said), _MOST_IMAGES))
