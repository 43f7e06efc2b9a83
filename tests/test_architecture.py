"""The structure itself: who imports whom, what an import costs, what is never written."""

import ast
import re
import subprocess
import sys
from pathlib import Path
from time import perf_counter

import pytest

ROOT = Path(__file__).parents[1]
# What fills in the course of time.
MUTABLE = {"dict", "list", "set", "deque", "defaultdict", "Counter", "OrderedDict"}
SOURCES = sorted((ROOT / "rag").rglob("*.py"))
PAGES = [ROOT / "app.py", *sorted((ROOT / "pages").rglob("*.py"))]

# From the ground up: a module may import those of lower floors and of its own package.
FLOORS = [
    {"rag", "rag.types"},
    {"rag.errors", "rag.redacting"},
    {"rag.disk_space", "rag.fault_points", "rag.settings"},
    {
        "rag.allowance",
        "rag.background",
        "rag.citing",
        "rag.deadline",
        "rag.folding",
        "rag.languages",
        "rag.late_interaction",
        "rag.log",
        "rag.metering",
        "rag.pace",
        "rag.people",
        "rag.sentences",
        "rag.sign_in",
        "rag.sparse_weights",
        "rag.stopwatch",
        "rag.surroundings",
        "rag.token_codes",
        "rag.waiting_line",
    },
    {
        "rag.log_events",
        "rag.naming",
        "rag.prompting",
        "rag.rank_flow",
        "rag.same_words",
        "rag.support",
        "rag.unrelated",
    },
    {"rag.audit", "rag.words"},
    {"rag.models"},
    {
        "rag.answering",
        "rag.baseline",
        "rag.chunking",
        "rag.documents",
        "rag.encoding",
        "rag.retrieval",
        "rag.rewriting",
        "rag.store",
        "rag.views",
    },
    {
        "rag.checking",
        "rag.indexing",
        "rag.ingest",
        "rag.replay",
        "rag.report",
        "rag.trace_files",
        "rag.trial",
    },
    {"rag.whereabouts"},
    {"rag.history", "rag.jobs", "rag.pipeline", "rag.serving", "rag.settings_file"},
    {"rag.opening"},
    {"rag.doctor"},
    {"rag.evaluation", "rag.repair"},
    {"rag.golden"},
    {"rag.cli"},
]


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def floor(name: str) -> int | None:
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        for number, modules in enumerate(FLOORS):
            if ".".join(parts[:length]) in modules and (length > 1 or len(parts) == 1):
                return number
    return None


@pytest.mark.parametrize("path", SOURCES, ids=module)
def test_imports_go_down(path: Path) -> None:
    own = module(path)
    own_floor = floor(own)
    assert own_floor is not None, f"{own} has no floor yet: give it one above"
    package = ".".join(own.split(".")[:2])
    for name in imports(path) & set(map(module, SOURCES)):
        if not name.startswith("rag.") or name.startswith(package):
            continue
        target = floor(name)
        assert target is not None, f"{own} imports {name}, which is on no floor"
        assert target < own_floor, f"{own} imports {name}, which is not below it"


@pytest.mark.parametrize("path", SOURCES, ids=module)
def test_the_package_knows_no_streamlit(path: Path) -> None:
    assert not any(name.split(".")[0] == "streamlit" for name in imports(path))


def test_only_the_store_knows_lancedb() -> None:
    users = {module(path) for path in SOURCES if "lancedb" in imports(path)}
    assert users
    assert all(name.startswith("rag.store") for name in users)


@pytest.mark.parametrize("path", [*SOURCES, *PAGES], ids=module)
def test_nothing_renders_html_runs_data_or_prints(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert "unsafe_allow_html" not in source
    assert "trust_remote_code=True" not in source
    tree = ast.parse(source)
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert not called & {"st.html", "eval", "exec", "pickle.load", "pickle.loads", "torch.load"}


# What takes a filter in LanceDB, where a text is SQL.
FILTERED = {"where", "delete", "update", "count_rows", "filter", "only_if", "prefilter"} | {
    f"when_{what}" for what in ("matched_update_all", "not_matched_by_source_delete")
}


def is_built_text(node: ast.AST) -> bool:
    """Whether a text is put together here, so that data could become part of it."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod):
        sides = (node.left, node.right)
        return any(isinstance(one, ast.Constant | ast.JoinedStr) for one in sides)
    called = node.func if isinstance(node, ast.Call) else None
    building = isinstance(called, ast.Attribute) and called.attr in {"format", "join", "replace"}
    return building or isinstance(node, ast.JoinedStr)


def test_no_filter_of_the_library_is_put_together_as_text() -> None:
    """Names and ids are data: filters are expressions, in which data stays data."""
    filters = [
        (path, call)
        for path in SOURCES
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call)
        and ast.unparse(call.func).rpartition(".")[2] in {*FILTERED, "matching"}
    ]
    assert any("rag.store" in module(path) for path, _ in filters)
    for path, call in filters:
        arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
        built = [node for part in arguments for node in ast.walk(part) if is_built_text(node)]
        assert not built, f"{module(path)}, line {call.lineno}"


@pytest.mark.parametrize("statement", ["import rag", "import rag.cli", "import rag.settings"])
def test_light_imports_stay_light(statement: str) -> None:
    command = f"{statement}; import sys; print(sorted(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, check=True
    ).stdout
    for heavy in ("torch", "lancedb", "transformers", "streamlit", "openai"):
        assert f"'{heavy}'" not in loaded


def test_help_answers_at_once() -> None:
    seconds = []
    command = [str(Path(sys.executable).with_name("rag")), "--help"]
    for _ in range(5):
        started = perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds.append(perf_counter() - started)
    assert min(seconds) < 0.5


@pytest.mark.parametrize("path", [*SOURCES, *PAGES], ids=module)
def test_a_file_is_about_one_thing(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


# All that the sessions of one server share besides the library, and why no question is in it.
SHARED = {
    "pages._asking": {"_allowance": "when questions were asked, and hashes of who asked"},
    "pages._evaluation.running": {"_jobs": "evaluations of the library's golden sets"},
    "pages._index": {"_jobs": "indexes of the library that are being built"},
    "pages._settings.models": {
        "_downloads": "models that are being downloaded",
        "_size": "how large a model is on the hub",
    },
    "pages._ui": {
        "_indexes": "a connection to the library",
        "_library": "the open library",
        "_loading": "the models of the settings",
        "_measuring": "what unrelated pairs of the library score",
        "_with_models": "the models of other settings",
    },
    "rag.documents.plausibility": {"_character": "how common single characters are"},
    "rag.fault_points": {"_fault": "what a test asked for in the environment"},
    "rag.folding": {"_converter": "a table of characters"},
    "rag.models.completions": {"certificates": "the trusted certificates"},
    "rag.support": {"support_model": "coefficients"},
    "rag.token_codes": {"_rotation": "a fixed matrix"},
}


@pytest.mark.parametrize("path", [*SOURCES, *PAGES], ids=module)
def test_sessions_share_only_what_is_nobodys(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    cached = {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for decorator in node.decorator_list
        if re.search(r"\b(lru_)?cache(_resource|_data)?\b", ast.unparse(decorator))
    }
    assert cached == set(SHARED.get(module(path), {})), "say what it shares, and why it may"
    assert not any(isinstance(node, ast.Global) for node in ast.walk(tree))
    for node in tree.body:
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        empty = isinstance(value, ast.Dict | ast.List) and not ast.unparse(value)[1:-1]
        made = isinstance(value, ast.Call) and ast.unparse(value.func) in MUTABLE
        fills_up = empty or made
        assert not fills_up, f"line {node.lineno}: every session would write into it"
