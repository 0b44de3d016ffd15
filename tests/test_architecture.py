"""The shape of the house, read from the source of every module: nothing is imported here."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from pgvault import errors

ROOT = Path(__file__).resolve().parent.parent

# From the ground up. A unit is a module or a package right below pgvault/; it may import units of lower
# layers, and units beside it as long as they do not import it back.
LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"__init__"}),
    frozenset({"errors"}),
    frozenset({"amounts", "config", "instants", "leash", "pooling", "process", "progress", "schedule"}),
    frozenset({"pipeline", "postgres"}),
    frozenset({"stores"}),
    frozenset({"repository"}),
    frozenset(
        {
            "alerts",
            "anomaly",
            "audit",
            "backup",
            "checks",
            "demo",
            "doctor",
            "drill",
            "expire",
            "extract",
            "hosts",
            "keyring",
            "logical",
            "metrics",
            "mirror",
            "monitor",
            "recovery",
            "report",
            "restore",
            "runbook",
            "selftest",
            "verify",
            "wal",
        }
    ),
    frozenset({"cli"}),
    frozenset({"__main__"}),
)
HEIGHT = {unit: height for height, layer in enumerate(LAYERS) for unit in layer}

LINES_MAX = 400

# What only the command line (and, for the environment, the configuration) may touch.
ENVIRONMENT = frozenset({"os.environ", "os.environb", "os.getenv"})
OUTSIDE_WORLD = ENVIRONMENT | {"os._exit", "sys.argv", "sys.exit", "sys.stderr", "sys.stdin", "sys.stdout"}
PROGRAM_BUILTINS = frozenset({"SystemExit", "exit", "input", "print", "quit"})  # when called
# Not library code: run by themselves, by an interpreter of their own.
PROGRAMS = frozenset({"leash.py"})
TERMINAL_LIBRARIES = frozenset({"click", "rich", "typer"})

# What only process.py may touch: it is where time-outs, environments and stderr are dealt with.
CHILD_LIBRARIES = frozenset({"multiprocessing", "pty", "subprocess"})
CHILD_PREFIXES = ("os.exec", "os.fork", "os.popen", "os.posix_spawn", "os.spawn", "os.system")


@cache
def parse(source: str, path: str) -> ast.Module:
    """Parse a source once for all rules: there are hundreds."""
    return ast.parse(source, path)


@dataclass(frozen=True, slots=True)
class Module:
    """One source file of the package."""

    path: str  # relative to pgvault/, '/'-joined
    source: str

    @property
    def unit(self) -> str:
        return self.path.removesuffix(".py").split("/")[0]

    @property
    def tree(self) -> ast.Module:
        return parse(self.source, self.path)

    def at(self, node: ast.AST, what: str) -> str:
        """Name a place as editors open it."""
        return f"pgvault/{self.path}:{getattr(node, 'lineno', 0)} {what}"


PACKAGE = [
    Module(path.relative_to(ROOT / "pgvault").as_posix(), path.read_text())
    for path in sorted((ROOT / "pgvault").rglob("*.py"))
]


def imports(module: Module) -> Iterator[tuple[ast.AST, str]]:
    """Yield every absolute import, wherever in the file, as dotted names; `from a import b` is a.b."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from ((node, f"{node.module}.{alias.name}") for alias in node.names)


def units_imported(module: Module) -> Iterator[tuple[ast.AST, str]]:
    """Yield the units of pgvault that a module imports; names of the package itself count as __init__."""
    for node, name in imports(module):
        package, _, rest = name.partition(".")
        unit, _, inside = rest.partition(".")
        if package == "pgvault":
            yield node, unit if inside or unit in HEIGHT else "__init__"


def attributes(module: Module) -> Iterator[tuple[ast.AST, str]]:
    """Yield what is taken from a name or imported from a module, as `os.environ`."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield node, f"{node.value.id}.{node.attr}"
    yield from imports(module)


def strangers(module: Module) -> list[str]:
    """A unit that no layer names."""
    return [] if module.unit in HEIGHT else [f"pgvault/{module.path} belongs to no layer"]


def upward_imports(module: Module) -> list[str]:
    """Imports of a higher layer."""
    height = HEIGHT.get(module.unit, 0)
    return [
        module.at(node, f"imports {unit}, which lies above")
        for node, unit in units_imported(module)
        if HEIGHT.get(unit, len(LAYERS)) > height
    ]


def relative_imports(module: Module) -> list[str]:
    """Imports that begin with a dot."""
    return [
        module.at(node, "imports relatively")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ImportFrom) and node.level > 0
    ]


def outside_touches(module: Module) -> list[str]:
    """What speaks to the terminal, ends the process or reads the environment, below the command line."""
    if module.unit == "cli" or module.path in PROGRAMS:
        return []
    forbidden = OUTSIDE_WORLD - ENVIRONMENT if module.unit == "config" else OUTSIDE_WORLD
    touched = [(node, name) for node, name in attributes(module) if name in forbidden]
    touched += [(node, name) for node, name in imports(module) if name.split(".")[0] in TERMINAL_LIBRARIES]
    touched += [
        (node, node.func.id)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in PROGRAM_BUILTINS
    ]
    return [module.at(node, f"touches {name}") for node, name in touched]


def child_processes(module: Module) -> list[str]:
    """Programs run by anything but process.py."""
    if module.path == "process.py" or module.path in PROGRAMS:
        return []
    touched = [(node, name) for node, name in imports(module) if name.split(".")[0] in CHILD_LIBRARIES]
    touched += [(node, name) for node, name in attributes(module) if name.startswith(CHILD_PREFIXES)]
    return [module.at(node, f"touches {name}") for node, name in touched]


def errors_elsewhere(module: Module) -> list[str]:
    """Classes outside errors.py whose base is one of its errors."""
    known = {name for name, thing in vars(errors).items() if isinstance(thing, type)}
    return [
        module.at(node, f"defines the error {node.name}")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef) and module.path != "errors.py"
        for base in node.bases
        if ast.unparse(base).split(".")[-1] in known
    ]


def circle(modules: Sequence[Module]) -> list[str]:
    """Return units that import each other in a circle, the first again at the end; empty without one."""
    graph: dict[str, set[str]] = {module.unit: set() for module in modules}
    for module in modules:
        graph[module.unit] |= {unit for _, unit in units_imported(module)} - {module.unit}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


RULES: tuple[Callable[[Module], list[str]], ...] = (
    strangers,
    upward_imports,
    relative_imports,
    outside_touches,
    child_processes,
    errors_elsewhere,
)


@pytest.mark.parametrize("rule", RULES)
def test_every_module_keeps_the_rule(rule: Callable[[Module], list[str]]) -> None:
    """No module of the package breaks it."""
    assert [complaint for module in PACKAGE for complaint in rule(module)] == []


def test_units_do_not_import_in_a_circle() -> None:
    """Units of one layer may help each other one way only."""
    assert circle(PACKAGE) == []


def test_a_circle_is_found() -> None:
    """Two units of one layer that import each other are named."""
    drill = Module("drill/run.py", "from pgvault.restore.run import restore")
    restore = Module("restore/run.py", "from pgvault.drill.run import run_drill")

    assert circle([drill]) == []
    assert set(circle([drill, restore])) == {"drill", "restore"}


def test_no_file_is_longer_than_a_reader_can_hold() -> None:
    """400 lines at most, in the package, its tests and its programs."""
    files = [path for folder in ("pgvault", "tests", "scripts") for path in (ROOT / folder).rglob("*.py")]

    counts = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in files}

    assert {path: count for path, count in counts.items() if count > LINES_MAX} == {}


@pytest.mark.parametrize(
    ("path", "source", "complaint"),
    [
        ("util/text.py", "", "pgvault/util/text.py belongs to no layer"),
        ("util.py", "", "pgvault/util.py belongs to no layer"),
        ("stores/file.py", "from pgvault.repository import x", "stores/file.py:1 imports repository"),
        ("process.py", "def f():\n    import pgvault.stores.base", "process.py:2 imports stores"),
        ("errors.py", "from pgvault import instants", "errors.py:1 imports instants"),
        ("errors.py", "from pgvault.nowhere import thing", "errors.py:1 imports nowhere"),
        (
            "wal/push.py",
            "if TYPE_CHECKING:\n    from pgvault.cli.app import app",
            "wal/push.py:2 imports cli",
        ),
        ("wal/push.py", "from . import fetch", "wal/push.py:1 imports relatively"),
        ("wal/push.py", "from ..stores import base", "wal/push.py:1 imports relatively"),
        ("instants.py", "print('hello')", "instants.py:1 touches print"),
        ("instants.py", "import sys\nsys.exit(1)", "instants.py:2 touches sys.exit"),
        ("instants.py", "from sys import exit", "instants.py:1 touches sys.exit"),
        ("instants.py", "raise SystemExit(1)", "instants.py:1 touches SystemExit"),
        ("process.py", "import os\nos.environ['HOME']", "process.py:2 touches os.environ"),
        ("config/sections.py", "import os\nos._exit(1)", "config/sections.py:2 touches os._exit"),
        ("drill/report.py", "from rich.table import Table", "drill/report.py:1 touches rich.table.Table"),
        ("cli/app.py", "import subprocess", "cli/app.py:1 touches subprocess"),
        ("backup/take.py", "from subprocess import run", "backup/take.py:1 touches subprocess.run"),
        ("backup/take.py", "import os\nos.execvp('sh', [])", "backup/take.py:2 touches os.execvp"),
        ("postgres/lsn.py", "class Odd(errors.UsageError): ...", "postgres/lsn.py:1 defines the error Odd"),
    ],
)
def test_a_broken_rule_is_found(path: str, source: str, complaint: str) -> None:
    """Each rule says no to what it forbids, and where."""
    module = Module(path, source)

    found = [found for rule in RULES for found in rule(module)]

    assert any(complaint in each for each in found), found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("config/sections.py", "import os\nfrom pgvault.instants import parse_duration\nhome = os.environ['HOME']"),
        ("process.py", "import subprocess\nfrom pgvault.errors import ProgramFailed"),
        ("drill/run.py", "from pgvault.recovery.plan import plan_restore\nfrom pgvault import __version__"),
        ("cli/main.py", "import sys\nimport typer\nimport pgvault.demo\nprint(1)\nsys.exit(1)"),
    ],
)
def test_what_is_allowed_is_not_complained_about(path: str, source: str) -> None:
    """The rules leave alone what has its place."""
    module = Module(path, source)

    assert [found for rule in RULES for found in rule(module)] == []
