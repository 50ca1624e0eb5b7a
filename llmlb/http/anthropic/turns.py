"""What the turns of a conversation are in the words of chat completions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from llmlb.http.anthropic.reading import Reader

Part = dict[str, Any]


@dataclass(slots=True)
class Notes:
    """What was left out on the way, once each, in order."""

    texts: list[str] = field(default_factory=list)

    def add(self, text: str) -> None:
        if text not in self.texts:
            self.texts.append(text)


def turns(messages: Iterable[Reader], notes: Notes) -> Iterator[dict[str, Any]]:
    """The chat messages of *messages*, in order. Raises MissingField, InvalidRequest."""
    for message in messages:
        role, said = message.fields["role"], message.text_or_blocks("content")
        if isinstance(said, str):
            yield {"role": role, "content": said}
        elif role == "user":
            yield from _user(said, notes)
        elif role == "assistant":
            yield _assistant(said, notes)
        else:
            yield {"role": "system", "content": text_of_blocks(said)}


def text_of_blocks(blocks: Iterable[Reader]) -> str:
    """The text of blocks that may be nothing else. Raises InvalidRequest."""
    texts = []
    for block in blocks:
        if block.fields["type"] != "text":
            raise _unknown(block)
        texts.append(block.required("text", str))
    return "\n".join(texts)


def _assistant(blocks: Iterable[Reader], notes: Notes) -> dict[str, Any]:
    """One message: chat has the text before the calls, so texts and calls each keep order."""
    texts: list[str] = []
    calls: list[dict[str, Any]] = []
    for block in blocks:
        match block.fields["type"]:
            case "text":
                texts.append(block.required("text", str))
            case "tool_use":
                calls.append(_call(block))
            case "thinking" | "redacted_thinking":
                notes.add("thinking blocks were left out")
            case _:
                raise _unknown(block)
    content = "\n".join(texts)
    if not calls:
        return {"role": "assistant", "content": content}
    return {"role": "assistant", "content": content or None, "tool_calls": calls}


def _call(block: Reader) -> dict[str, Any]:
    try:
        arguments = json.dumps(
            block.required("input", dict),
            separators=(",", ":"),
            ensure_ascii=False,
            allow_nan=False,
        )
    except ValueError:  # 1e999 is valid JSON, and infinite in here
        raise block.fault("input", "holds a number that is too large") from None
    return {
        "id": block.required("id", str),
        "type": "function",
        "function": {
            "name": block.required("name", str),
            "arguments": arguments,
        },
    }


def _user(blocks: Iterable[Reader], notes: Notes) -> Iterator[dict[str, Any]]:
    """The results of tools first, as chat wants them next to their calls; then the rest."""
    parts: list[Part] = []
    results = 0
    for block in blocks:
        match block.fields["type"]:
            case "tool_result":
                results += 1
                text, images = _result(block)
                yield {
                    "role": "tool",
                    "tool_call_id": block.required("tool_use_id", str),
                    "content": text,
                }
                if images:
                    notes.add("images of tool results were put into the user's turn")
                    parts += [_text(f"Images of tool result {_id(block)}:"), *images]
            case "thinking" | "redacted_thinking":
                notes.add("thinking blocks were left out")
            case _:
                parts.append(_part(block))
    if parts or not results:
        yield {"role": "user", "content": _plain(parts)}


def _result(block: Reader) -> tuple[str, list[Part]]:
    """The text of a tool's result, and its images, for which a `tool` message has no room."""
    said: str | list[Reader] = ""
    if block.fields.get("content") is not None:
        said = block.text_or_blocks("content")
    texts: list[str] = []
    images: list[Part] = []
    if isinstance(said, str):
        texts.append(said)
    else:
        for part in map(_part, said):
            if part["type"] == "text":
                texts.append(part["text"])
            else:
                images.append(part)
                texts.append(f"[image {len(images)} of tool result {_id(block)}, shown below]")
    text = "\n".join(texts)
    return f"Error: {text}" if block.optional("is_error", bool) else text, images


def _id(block: Reader) -> str:
    return block.required("tool_use_id", str)


def _part(block: Reader) -> Part:
    """One part of a user's message. Raises MissingField, InvalidRequest."""
    match block.fields["type"]:
        case "text":
            return _text(block.required("text", str))
        case "image":
            return {"type": "image_url", "image_url": {"url": _image_url(block)}}
        case "document":
            return _text(_document(block))
        case "search_result":
            found = [block.required("title", str), block.required("source", str)]
            return _text("\n".join([*found, text_of_blocks(_blocks(block))]))
        case _:
            raise _unknown(block)


def _blocks(block: Reader) -> list[Reader]:
    said = block.text_or_blocks("content")
    if isinstance(said, str):
        raise block.fault("content", "must be an array of content blocks")
    return said


def _image_url(block: Reader) -> str:
    source = _source(block)
    match source.required("type", str):
        case "base64":
            media_type = source.required("media_type", str)
            return f"data:{media_type};base64,{source.required('data', str)}"
        case "url":
            return source.required("url", str)
        case _:
            raise source.fault("type", "must be 'base64' or 'url' for this model")


def _document(block: Reader) -> str:
    """A document's title, context and text: chat has no words for any but plain text."""
    source = _source(block)
    match source.required("type", str):
        case "text":
            text = source.required("data", str)
        case "content":
            said = source.text_or_blocks("content")
            text = said if isinstance(said, str) else text_of_blocks(said)
        case _:
            raise source.fault("type", "must be 'text' or 'content': this model reads no files")
    about = (block.optional("title", str), block.optional("context", str))
    return "\n".join([*(line for line in about if line), text])


def _source(block: Reader) -> Reader:
    return Reader(block.required("source", dict), block.at("source"))


def _text(text: str) -> Part:
    return {"type": "text", "text": text}


def _plain(parts: list[Part]) -> Any:  # noqa: ANN401 - a string or a list of parts
    """A single text as a string, which is all that some chat templates take."""
    if not parts:
        return ""
    if len(parts) == 1 and parts[0]["type"] == "text":
        return parts[0]["text"]
    return parts


def _unknown(block: Reader) -> Exception:
    kind = block.fields["type"]
    return block.fault("type", f"is {kind[:60]!r}, which cannot be translated for this model")
