"""What is said of the routes for sound and images."""

from __future__ import annotations

from llmlb.errors import UnsupportedCapability, UnsupportedMediaType
from llmlb.http.intake.form import InvalidForm
from llmlb.http.openapi.exchanges import MODEL, STREAM, UNREAD, asked, exchange, results
from llmlb.http.openapi.route import (
    BINARY,
    Content,
    JsonSchema,
    Route,
    event_stream,
    json_content,
    multipart_content,
    open_object,
)
from llmlb.types import Api

_OF_FORMS = (UnsupportedCapability, UnsupportedMediaType, InvalidForm)

_STREAM: JsonSchema = {"enum": ["true", "false"], "description": "Answer piece by piece."}
_FORMAT: JsonSchema = {"description": "`json`, `text`, `srt` …: for the endpoint."}

_IMAGE_EVENTS = event_stream("Sketches of the images, and each image as it is complete.")

_TRANSCRIPT = open_object(("text",), text={"type": "string"})
_HEARD = (json_content(_TRANSCRIPT), Content("text/*", {"type": "string"}))

MEDIA: tuple[Route, ...] = (
    exchange(
        Api.IMAGE_GENERATIONS,
        "Make an image",
        json_content(
            asked(
                stream=STREAM,
                n={"description": "How many images."},
                prompt=UNREAD,
            ),
            {"model": "tiny", "prompt": "a cat"},
        ),
        results("data"),
        _IMAGE_EVENTS,
        errors=(UnsupportedCapability,),
    ),
    exchange(
        Api.IMAGE_EDIT,
        "Change an image",
        multipart_content(
            {"image": "The image; several are `image[]`."},
            {"model": MODEL, "prompt": {"type": "string", "minLength": 1}, "stream": _STREAM},
            {"image": "@cat.png", "model": "tiny", "prompt": "with a hat"},
        ),
        results("data"),
        _IMAGE_EVENTS,
        errors=_OF_FORMS,
    ),
    exchange(
        Api.IMAGE_VARIATION,
        "Make an image like another one",
        multipart_content(
            {"image": "The image."}, {"model": MODEL}, {"image": "@cat.png", "model": "tiny"}
        ),
        results("data"),
        errors=_OF_FORMS,
    ),
    exchange(
        Api.SPEECH,
        "Say a text aloud",
        json_content(
            asked(
                stream_format={"description": "`sse`: events that hold the audio."},
                input=UNREAD,
                voice=UNREAD,
            ),
            {"model": "tiny", "input": "hello", "voice": "alloy"},
        ),
        Content("audio/*", BINARY),
        Content("application/octet-stream", BINARY),
        event_stream("The audio in pieces, in base64."),
        says="Audio in whatever format was asked for.",
        errors=(UnsupportedCapability,),
    ),
    exchange(
        Api.TRANSCRIPTION,
        "Write down what is said",
        multipart_content(
            {"file": "The recording."},
            {"model": MODEL, "stream": _STREAM, "response_format": _FORMAT},
            {"file": "@hello.mp3", "model": "tiny"},
        ),
        *_HEARD,
        event_stream("The transcript as it is made."),
        errors=_OF_FORMS,
    ),
    exchange(
        Api.TRANSLATION,
        "Write down in English what is said",
        multipart_content(
            {"file": "The recording."},
            {"model": MODEL, "response_format": _FORMAT},
            {"file": "@hallo.mp3", "model": "tiny"},
        ),
        *_HEARD,
        errors=_OF_FORMS,
    ),
)
