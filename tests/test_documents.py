"""The documents say what the code does: tables, names, links and examples are compared with it."""

from __future__ import annotations

import ast
import inspect
import json
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest

from llmlb.actors.admission import AdmissionController
from llmlb.actors.audit import AuditLog
from llmlb.actors.feed import EventFeed
from llmlb.actors.history import History
from llmlb.actors.jobs import JobOwner
from llmlb.actors.journal import Journal
from llmlb.actors.keyring import KeyRing
from llmlb.actors.latency import LatencyTracker
from llmlb.actors.prober import DeviceProber
from llmlb.actors.registry import EndpointRegistry
from llmlb.actors.responses import ResponseDirectory
from llmlb.declared.file import parse_declared
from llmlb.demo import story
from llmlb.errors import EndpointRefusal, LbError
from llmlb.http.application import create_app
from llmlb.settings import Settings, variable_name
from llmlb.types import Engine

ROOT = Path(__file__).parents[1]
README, CLAUDE = ROOT / "README.md", ROOT / "CLAUDE.md"
ARCHITECTURE, TASKS = ROOT / "docs/architecture.md", ROOT / "docs/tasks.md"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])

each_document = pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT))
)


# -- reading documents


@cache
def text_of(document: Path) -> str:
    return document.read_text(encoding="utf-8")


def blocks(document: Path, language: str) -> list[str]:
    """The code blocks in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text_of(document), re.MULTILINE | re.DOTALL)


def without_blocks(document: Path) -> str:
    return re.sub(r"^```.*?^```$", "", text_of(document), flags=re.MULTILINE | re.DOTALL)


def prose(document: Path) -> str:
    """All that is neither code nor where a link leads."""
    text = re.sub(r"`[^`\n]*`|(?<=\])\([^)]*\)", "", without_blocks(document))
    return " ".join(text.split())


def table(document: Path, heading: str) -> list[list[str]]:
    """The cells of the first table below *heading*, without its head."""
    _, found, below = text_of(document).partition(f"\n## {heading}\n")
    assert found, f"{document.name} has no heading {heading}"
    lines = re.findall(r"(?:^\|.*\n)+", below, re.MULTILINE)[0].splitlines()
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in lines[2:]]


def spans(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", text)


def headings(document: Path) -> set[str]:
    """The anchors of its headings, as GitHub makes them."""
    found = re.findall(r"^#+ (.*)$", without_blocks(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


# -- links and words


@each_document
def test_every_relative_link_resolves(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", without_blocks(document)):
        if target.startswith("https://"):
            continue
        file, _, anchor = unquote(target).partition("#")
        place = (document.parent / file).resolve() if file else document
        assert place.is_relative_to(ROOT), target
        assert place.exists(), target
        assert not anchor or anchor in headings(place), target


@each_document
def test_the_words_of_the_house_are_used(document: Path) -> None:
    retired = re.compile(
        r"\b(nodes?(?! tests)|back-?ends?|(?<!context )managers?|helpers?|utils?|throttl\w+"
        r"|upstream servers?|queues?|backlogs?|permits?|deployments?)\b",
        re.IGNORECASE,
    )
    assert [match[0] for match in retired.finditer(prose(document))] == []


def test_cpu_endpoints_and_latency_first_are_said() -> None:
    assert "CPU endpoints are welcome" in text_of(CLAUDE)
    assert "Latency first" in text_of(CLAUDE)
    assert "a CPU is as welcome as any" in text_of(README)


# -- README.md


def shown(default: object) -> str:
    """A default as the table of settings shows it."""
    if default is None:
        return "–"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def test_the_settings_table_is_complete_and_right() -> None:
    said = {spans(variable)[0]: default for variable, default, _ in table(README, "Settings")}
    fields = Settings.model_fields.items()
    assert said == {variable_name(name): shown(field.default) for name, field in fields}


def error_classes(base: type[LbError] = LbError) -> Iterator[type[LbError]]:
    for cls in base.__subclasses__():
        if cls.__module__ == LbError.__module__ and cls is not EndpointRefusal:
            yield cls
            yield from error_classes(cls)


def test_the_errors_table_is_complete_and_right() -> None:
    rows = table(README, "Errors")
    said = [(int(status), spans(kind)[0], spans(code)[0]) for status, kind, code, _ in rows]
    assert len(said) == len(set(said))
    assert set(said) == {(cls.status, cls._type, cls._code) for cls in error_classes()}


def test_the_routes_table_is_complete_and_right() -> None:
    said = {(spans(method)[0], spans(path)[0]) for method, path, _ in table(README, "Routes")}
    there = set()
    for rule in create_app(Settings()).url_map.iter_rules():
        if rule.rule.startswith("/v0/") or rule.endpoint.startswith("api_later"):
            continue
        path = re.sub(r"<[^>]+>", "{id}", rule.rule)
        methods = {"WS"} if rule.websocket else rule.methods or ()
        there |= {(m, path) for m in methods if m not in {"HEAD", "OPTIONS", "PATCH"}}
    assert said == there


def test_every_engine_is_described() -> None:
    assert {spans(row[0])[0] for row in table(README, "Endpoints")} == set(Engine)


def test_the_example_of_llmlb_toml_is_understood() -> None:
    (example,) = blocks(README, "toml")
    forms = parse_declared(example.encode(), "llmlb.toml", {"RACK_KEY": "sk-1"})
    assert [(form.name, form.base_url) for form in forms] == [
        ("desk", "http://127.0.0.1:11434"),
        ("rack", "https://rack.lan/inference"),
    ]
    assert forms[1].api_key == "sk-1"


@each_document
def test_the_code_in_examples_is_code(document: Path) -> None:
    for example in blocks(document, "python"):
        ast.parse(example)
    for example in blocks(document, "sh"):
        for body in re.findall(r"-d '(.*?)'", example, re.DOTALL):
            json.loads(body)


def test_the_transcript_is_what_the_demonstration_says() -> None:
    steps = [
        line.removeprefix("==> ")
        for line in blocks(README, "text")[0].splitlines()
        if line.startswith("==> ")
    ]
    source = inspect.getsource(story)
    places = [source.find(" ".join(step.split()[:3])) for step in steps]
    assert -1 not in places
    assert len(steps) == source.count("_screen.step(") - 2, "but for what follows the answer"


@each_document
def test_targets_of_make_exist(document: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"\bmake ([a-z][a-z0-9-]*)\b", " ".join(spans(text_of(document)))):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


# -- CLAUDE.md


def test_the_layers_are_those_that_are_checked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (said,) = blocks(CLAUDE, "layers")
    for contract in project["tool"]["importlinter"]["contracts"]:
        if contract["type"] == "layers":
            assert said.splitlines() == contract["layers"]
        else:
            assert f"\n- {contract['name']}\n" in text_of(CLAUDE)


# -- docs/architecture.md

ACTORS = {
    "registry": EndpointRegistry,
    "latency": LatencyTracker,
    "responses": ResponseDirectory,
    "admission": AdmissionController,
    "prober": DeviceProber,
    "journal": Journal,
    "feed": EventFeed,
    "keyring": KeyRing,
    "audit": AuditLog,
    "jobs": JobOwner,
    "history": History,
}

EDGE = re.compile(r"(\w+) (-->|==>|-\.->)\|([\w, ]+)\| (\w+)")


def test_the_message_graph_is_that_of_the_code() -> None:
    (graph,) = blocks(ARCHITECTURE, "mermaid")
    _, *lines = graph.splitlines()
    for line in lines:
        edge = EDGE.fullmatch(line.strip())
        assert edge, line
        source, arrow, names, target = edge.groups()
        owner = ACTORS[source if arrow == "-.->" else target]
        for name in names.split(", "):
            method = getattr(owner, name, None)
            if arrow == "-.->" and method is None:
                assert f"self.{name}" in inspect.getsource(owner), line
            else:
                assert method, line
                assert inspect.iscoroutinefunction(method) == (arrow == "==>"), line


def test_every_message_of_the_house_is_in_the_graph() -> None:
    (graph,) = blocks(ARCHITECTURE, "mermaid")
    said = {
        (name, edge[1] if edge[2] == "-.->" else edge[4])
        for edge in EDGE.finditer(graph)
        for name in edge[3].split(", ")
    }
    house = "".join((ROOT / f"llmlb/{name}.py").read_text() for name in ("house", "wiring"))
    told = re.findall(
        r"self\.(registry|latency|responses|admission|prober|journal|feed|keyring|audit|jobs"
        r"|history)\.(\w+)",
        house,
    )
    plumbing = {"run", "close", "standings", "catalog"}
    assert {(name, actor) for actor, name in told if name not in plumbing} <= said


# -- docs/tasks.md


def test_all_33_tasks_are_there_in_order() -> None:
    ids = re.findall(r"^\| (T\d{3}) \|", text_of(TASKS), re.MULTILINE)
    assert ids == [f"T{number:03}" for number in range(1, 34)]


def test_every_task_is_shown_by_a_test_or_says_what_brings_it() -> None:
    for row in re.findall(r"^\| T\d{3} \|.*$", text_of(TASKS), re.MULTILINE):
        shown_by = row.rstrip("|").rpartition("|")[2]
        assert "::test_" in shown_by or "not yet: " in shown_by or "](#" in shown_by, row


def test_the_17_tests_of_t008_are_named() -> None:
    listed = table(TASKS, "The tests of T008")
    assert len({name for (name,) in listed}) == 17


@cache
def defined_in(file: Path) -> frozenset[str]:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(
        part.name for part in ast.walk(ast.parse(file.read_text())) if isinstance(part, functions)
    )


@each_document
def test_every_file_and_test_that_is_named_exists(document: Path) -> None:
    for name in spans(without_blocks(document)):
        if not re.fullmatch(r"(llmlb|tests|docs|scripts|requirements)/[\w./]+(::test_\w+)?", name):
            continue
        file, _, test = name.partition("::")
        assert (ROOT / file).exists(), name
        assert not test or test in defined_in(ROOT / file), name


# -- names in any document


@cache
def words_of_the_code() -> frozenset[str]:
    files = [*ROOT.glob("llmlb/**/*.py"), *ROOT.glob("tests/**/*.py"), ROOT / "pyproject.toml"]
    return frozenset(word for file in files for word in re.findall(r"\w+", file.read_text()))


@pytest.mark.parametrize("document", [ARCHITECTURE, CLAUDE], ids=lambda path: path.stem)
def test_every_name_of_the_code_exists(document: Path) -> None:
    for name in spans(without_blocks(document)):
        if not name.isupper() and re.fullmatch(r"_?[A-Za-z]\w{3,}(\.[a-z_]\w*)?", name):
            for part in name.removesuffix(".md").split("."):
                assert part in words_of_the_code() or (ROOT / name).exists(), name


@each_document
def test_every_setting_that_is_named_exists(document: Path) -> None:
    named = set(re.findall(r"\bLLMLB_[A-Z_]+\b", text_of(document)))
    assert named <= {variable_name(field) for field in Settings.model_fields}
