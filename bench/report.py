"""`docs/performance.md`, from the results of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from bench.load import Ask
from bench.measures import FULL, QUICK, Plan
from bench.results import FIGURES, LLMLB, Results
from bench.soak import LEAVING_PERCENT, STREAMS, Soaked
from bench.targets import verdicts

TABLES = (
    ("Plain requests", ("plain_rps", "plain_cpu_us", "latency_p50_us", "latency_p99_us")),
    (
        "256 streams of 100 chunks a second",
        (
            "fast_chunks_per_s",
            "fast_first_p50_us",
            "fast_first_p99_us",
            "fast_delay_p99_us",
            "fast_cpu_us",
        ),
    ),
    ("1,000 streams of 20 chunks a second", ("many_chunks_per_s", "many_delay_p99_us")),
    (
        "Memory and start",
        ("idle_pss_bytes", "idle_rss_bytes", "open_pss_bytes", "open_rss_bytes", "start_s"),
    ),
)

NOT_MEASURED = (
    "TLS, on either side, and HTTP/2.",
    "A network: all three processes are on one machine, and packets go through the loopback.",
    "Real inference servers: the stub answers at once, and its answers are short.",
    "Large bodies, images, forms and other APIs than chat completions.",
    "Failover, waiting in line, and limits of keys: nothing fails here, and no slot is missing.",
    "More than one core: llmlb is one process, and the others are held to one as well.",
    "What LiteLLM does with a database, and what the routers do with more than one worker.",
)


def render(results: Results, soaked: Soaked | None) -> str:
    """The whole document."""
    parts = [
        "# Performance",
        *_warning(results),
        _introduction(results),
        "## Targets",
        _targets(results, soaked),
        "## Side by side",
        *_tables(results),
        "![Plain requests per second and CPU per relayed chunk](images/performance-compared.svg)",
        *_left_out(results),
        "## Growth",
        _growth(results),
        "## Start with much behind it",
        _start(results),
        "## Soak",
        _soak(soaked),
        "## Machine and versions",
        _table(("", ""), results.machine.items()),
        _versions(results),
        "## Commands",
        _commands(results),
        "## What is not measured",
        "\n".join(f"- {line}" for line in NOT_MEASURED),
    ]
    return "\n\n".join(parts) + "\n"


def _warning(results: Results) -> Iterator[str]:
    if results.quick:
        yield (
            "> **A quick run.** One round with windows of a second, perhaps on a machine that was "
            "busy with other things: it shows that everything runs, and its figures are worth "
            "nothing. `make bench` makes real ones."
        )


def _introduction(results: Results) -> str:
    rounds = len(results.rounds)
    of = "one round" if rounds == 1 else f"{rounds} rounds (least–most in brackets)"
    return (
        "Written by `make bench`; do not edit. llmlb and others stand, one after the other, "
        "between the same load generator and the same stub of an inference server, each alone on "
        "core 0; stub and load generator share core 1. In each round all have their turn, in the "
        f"opposite order of the round before. Figures are medians of {of}. *Added* is the "
        "difference to *direct*, without anything in between, in the same round. Absolute values "
        "differ from machine to machine, so compare within this page only.\n\n"
        "llmlb runs with all that it does switched on. Before each of its turns "
        f"({results.proofs} here) one request shows it: without a key the answer is 401, with it "
        "200 and the name of the endpoint that the lease was for; then there is a row of it in "
        "the history, and `/metrics` has counted it. After the turn nothing may be missing from "
        "the history. Whatever was answered by an error, or broke, is no figure: it is named below."
    )


def _targets(results: Results, soaked: Soaked | None) -> str:
    words = {True: "met", False: "**missed**", None: "not measured"}
    rows = [(v.measure, v.target, v.measured, words[v.met]) for v in verdicts(results, soaked)]
    return _table(("measure", "target", "here", ""), rows)


def _tables(results: Results) -> Iterator[str]:
    for title, figures in TABLES:
        heads = [f"{FIGURES[name].title}, {FIGURES[name].unit.strip('/')}" for name in figures]
        heads = [head.removesuffix(", s") if "/s" in head else head for head in heads]
        rows = [
            (_bold(name), *(_cell(results, name, figure) for figure in figures))
            for name in results.names
        ]
        yield f"### {title}"
        yield _table(("", *heads), rows)


def _bold(name: str) -> str:
    return f"**{name}**" if name == LLMLB else name


def _cell(results: Results, name: str, figure: str) -> str:
    middle, values = results.median(name, figure), results.values(name, figure)
    if middle is None:
        return "–"
    shown = f"{{:,.{FIGURES[figure].digits}f}}".format
    if FIGURES[figure].added and name == "direct":
        return "0"
    if len(values) == 1:
        return shown(middle)
    return f"{shown(middle)} ({shown(min(values))}–{shown(max(values))})"


def _left_out(results: Results) -> Iterator[str]:
    said = [f"- {name} did not take part: {why}" for name, why in results.skipped.items()]
    said += [f"- {fault}" for fault in results.faults]
    if said:
        yield "Not counted, or not there:"
        yield "\n".join(said)


def _growth(results: Results) -> str:
    if not results.growth:
        return "Not measured."
    rows = [
        (f"{of['endpoints']:,.0f}", f"{of['models']:,.0f}", f"{of['cpu_us']:,.0f}")
        for of in results.growth
    ]
    return (
        "CPU of llmlb per plain request, with so many endpoints that all have the model, and so "
        "many models besides the few that every stub lists. Probes are counted in. What 1,000 "
        "endpoints cost more than one is all that it takes to choose among 1,000 candidates.\n\n"
        + _table(("endpoints", "models", "CPU per request, µs"), rows)
        + "\n\n![CPU per request over endpoints and models](images/performance-growth.svg)"
    )


def _start(results: Results) -> str:
    value = results.median(LLMLB, "start_large_s")
    if value is None:
        return "Not measured."
    large = {name: f"{n:,.0f}" for name, n in results.large.items()}
    return (
        f"With {large['keys']} keys and {large['rows']} requests in its history, llmlb answers "
        f"its first chat completion {_cell(results, LLMLB, 'start_large_s')} s after its process "
        "was started."
    )


def _soak(soaked: Soaked | None) -> str:
    if soaked is None:
        return "Not run: `python -m bench soak --minutes 30`."
    before, after = soaked.before, soaked.after
    rows = [
        (name, str(getattr(before, name)), str(getattr(after, name)))
        for name in ("leases", "sockets", "tasks")
    ]
    return (
        f"{soaked.minutes:g} minutes at about half load: {soaked.requests:,} plain requests beside "
        f"{STREAMS} streams at a time, {soaked.streams:,} in all, of which {soaked.left:,} were "
        f"left by their clients in the middle ({LEAVING_PERCENT:g} % were to be). Memory moved by "
        f"{soaked.slope_mb_per_h:+.2f} MB/h after the first sixth. What llmlb held when nobody "
        "asked it anything:\n\n" + _table(("", "before", "after"), rows)
    )


def _versions(results: Results) -> str:
    rows = [(name, results.versions[name], results.about[name]) for name in results.names]
    return _table(("", "version", "what it does"), rows)


def _commands(results: Results) -> str:
    plan = _plan(results)
    started = [f"# {name}\n{words}" for name, words in results.commands.items()]
    loads = [f"# {name}\n{load_command(ask)}" for name, ask in plan.asks().items()]
    return (
        "The whole page is made by\n\n```sh\nmake bench   # make bench-quick for a glance\n"
        "python -m bench soak --minutes 30\n```\n\n"
        "What is compared is started so (PORT, STUB and DIR are made up for each run):\n\n"
        "```text\n" + "\n".join(started) + "\n```\n\nand asked so:\n\n"
        "```text\n" + "\n".join(loads) + "\n```"
    )


def _plan(results: Results) -> Plan:
    usual = QUICK if results.quick else FULL
    return replace(usual, window_s=results.window_s)


def load_command(ask: Ask) -> str:
    """How the load generator is called, for people."""
    words = ["taskset", "-c", "1", "lg", *ask.arguments(0, "KEY")]
    words[words.index("-p") + 1] = "PORT"
    return " ".join(words)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    line: Callable[[Iterable[str]], str] = lambda cells: f"| {' | '.join(cells)} |"  # noqa: E731
    return "\n".join([line(head), f"|{'---|' * len(head)}", *map(line, rows)])
