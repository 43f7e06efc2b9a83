"""What RankLens is made of: data is never run, versions are held, licences are known."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from functools import cache
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from rag import __version__
from scripts.licences import (
    EVERYTHING,
    SHIPPED,
    Licensed,
    closure,
    licensed,
    problems,
    shipped_only,
)

ROOT = Path(__file__).parents[1]
SOURCES = [
    ROOT / "app.py",
    *(path for name in ("rag", "pages", "scripts") for path in sorted((ROOT / name).rglob("*.py"))),
]
# Modules and calls that run what they read.
RUNNING_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
RUNNING_CALLS = {
    "eval",
    "exec",
    "os.system",
    "os.popen",
    "torch.load",
    "yaml.load",
    "yaml.unsafe_load",
    "pandas.read_pickle",
    "runpy.run_path",
}
# What may not be said to any function.
RUNNING_ARGUMENTS = {
    ("trust_remote_code", True),
    ("allow_pickle", True),
    ("weights_only", False),
    ("use_safetensors", False),
    ("shell", True),
}
# What needs no pin: it comes with every environment.
WITH_PYTHON = {"setuptools"}


@cache
def programs() -> dict[str, list[ast.AST]]:
    """The nodes of all our programs, by file."""
    return {
        str(path.relative_to(ROOT)): list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        for path in SOURCES
    }


def offences(nodes: Iterable[ast.AST]) -> list[str]:
    """What in a program runs data."""
    found = []
    for node in nodes:
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        found += [name for name in names if name.partition(".")[0] in RUNNING_MODULES]
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            found += [called] if called in RUNNING_CALLS else []
            found += [
                f"{keyword.arg}={keyword.value.value}"
                for keyword in node.keywords
                if isinstance(keyword.value, ast.Constant)
                and (keyword.arg, keyword.value.value) in RUNNING_ARGUMENTS
            ]
    return found


def pins(text: str) -> dict[str, str]:
    """The exact versions of a file of requirements, by canonical name."""
    found = re.findall(r"^([\w.-]+)==([^\s;\\]+)", text, re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


def test_no_program_of_ours_runs_what_it_reads() -> None:
    assert len(programs()) > 100
    assert {file: found for file, nodes in programs().items() if (found := offences(nodes))} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(file)",
        "eval(text)",
        "Model(folder, trust_remote_code=True)",
        "np.load(file, allow_pickle=True)",
        "subprocess.run(command, shell=True)",
    ],
)
def test_the_rule_sees_what_runs_data(source: str) -> None:
    assert offences(ast.walk(ast.parse(source)))


def test_the_code_of_a_model_runs_only_where_the_settings_name_that_model() -> None:
    said = {
        ast.unparse(keyword.value)
        for nodes in programs().values()
        for node in nodes
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "trust_remote_code"
    }
    assert said <= {"remote_code", "False"}
    named = (ROOT / "rag" / "models" / "rerankers.py").read_text(encoding="utf-8")
    assert "query.remote_code ==" in named or "== query.remote_code" in named


def test_every_package_is_pinned_to_the_version_that_is_tested() -> None:
    pinned = pins((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    needed = {
        name: package.version.partition("+")[0]
        for name, package in closure(("", "test")).items()
        if name not in WITH_PYTHON
    }
    assert needed == {name: version for name, version in pinned.items() if name in needed}
    assert pinned.keys() - needed.keys() == set(), "pinned, and needed by nothing"


def test_every_pin_has_hashes_but_the_one_that_each_machine_takes_from_elsewhere() -> None:
    """That of torch comes from the index of its CPU builds, where that can be reached."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pinned = pins((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    assert pins(text) == {name: one for name, one in pinned.items() if name != "torch"}
    blocks = re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)[1:]
    bare = [one for one in blocks if not re.search(r"--hash=sha256:[0-9a-f]{64}\b", one)]
    assert bare == []


def test_versions_with_known_holes_cannot_be_chosen() -> None:
    """The floors of the advisories GHSA-7p48-42j8-8846, GHSA-wqp7-x3pw-xc5r and CVE-2025-32434."""
    packages = closure(("",))
    for name, least in (("streamlit", (1, 54)), ("starlette", (1, 1)), ("torch", (2, 6))):
        version = packages[name].version.split(".")
        assert tuple(map(int, version[:2])) >= least


def test_every_licence_is_known_and_fits_ours() -> None:
    packages = licensed(EVERYTHING)
    assert len(packages) > 100
    assert list(problems(packages)) == []


@pytest.mark.parametrize(
    ("licence", "fits"),
    [
        ("", False),
        ("GNU Affero General Public License v3", False),
        ("AGPL-3.0-or-later", False),
        ("MIT AND GPL-3.0-only", False),
        ("GPL-2.0-only OR MIT", True),
        ("GNU Lesser General Public License v2 (LGPLv2)", True),
        ("Mozilla Public License 2.0 (MPL 2.0)", True),
    ],
)
def test_a_licence_that_asks_for_the_whole_work_is_told(licence: str, *, fits: bool) -> None:
    assert Licensed("thing", "1", licence).fits is fits


def test_the_bill_of_materials_holds_what_is_shipped_and_nothing_else() -> None:
    components = [
        {"name": name, "bom-ref": name} for name in ("pypdf", "pytest", "Streamlit", "mypy")
    ]
    dependencies = [
        {"ref": "root", "dependsOn": ["pypdf", "pytest"]},
        {"ref": "pytest", "dependsOn": ["pypdf"]},
        {"ref": "pypdf"},
    ]
    materials = shipped_only(
        {
            "metadata": {"component": {"bom-ref": "root", "version": __version__}},
            "components": components,
            "dependencies": dependencies,
        }
    )
    assert [one["name"] for one in materials["components"]] == ["pypdf", "Streamlit"]
    assert materials["dependencies"] == [
        {"ref": "root", "dependsOn": ["pypdf"]},
        {"ref": "pypdf", "dependsOn": []},
    ]
    assert "pytest" not in closure(SHIPPED)


def test_it_is_said_how_to_report_a_hole() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    told = dict(
        line.split(", ", 1) for line in distribution("ranklens").metadata.get_all("Project-URL")
    )
    repository = told["Changelog"].partition("/blob/")[0]
    assert f"{repository}/security/advisories/new" in text
