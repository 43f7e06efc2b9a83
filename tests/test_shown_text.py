"""Whatever a page gives Streamlit to draw as Markdown was made safe, or is the page's own words.

The source of the pages is read: each text is followed to where it comes from, through variables,
arguments and the pages' own functions, until it is a constant, a number, or what `pages._markdown`
made. What cannot be followed is refused.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pages._evaluation import answers
from rag.evaluation.resampling import Figure
from rag.evaluation.results import ALL, AnswerFigure, Answers
from tests.exfiltration import WAYS
from tests.test_markdown import dangers

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "app.py", *sorted((ROOT / "pages").rglob("*.py"))]
# Elements of Streamlit that draw their first argument as Markdown, and arguments that all have.
# fmt: off
DRAWN = {
    "markdown", "caption", "title", "header", "subheader", "write", "text", "badge", "info",
    "warning", "error", "success", "toast", "spinner", "progress", "status", "metric", "expander",
    "popover", "tabs", "dialog", "page_link", "link_button", "button", "form_submit_button",
    "download_button", "checkbox", "toggle", "radio", "selectbox", "multiselect",
    "segmented_control", "pills", "slider", "select_slider", "number_input", "text_input",
    "text_area", "file_uploader", "chat_input", "Column", "TextColumn", "NumberColumn",
    "CheckboxColumn", "ProgressColumn", "DatetimeColumn",
}
# fmt: on
DRAWN_ARGUMENTS = {"label", "help", "body", "text"}
# What makes text safe, and what gives numbers.
SAFE = {"plain", "safe", "passage", "shaded", "len", "abs", "sum", "round", "format", "Counter"}
# What is as safe as all it is made of; of `get` the key does not count.
METHODS = {"join", "format", "items", "values", "get", "replace", "lower", "removeprefix"}
# Fields of records that are numbers, and a sentence that is made of numbers alone.
NUMBERS = {"rank", "ranks", "page", "position", "dropped", "chunks", "pages", "support_line"}
NUMBERS |= {"total", "done", "number"}
# Shown with a number's format a text would be an error.
NUMBER_FORMATS = tuple("f%,dg")


@dataclass
class Pages:
    """The functions of all pages, and who calls them."""

    trees: dict[str, ast.Module]
    functions: dict[str, list[ast.FunctionDef]] = field(default_factory=dict)
    calls: dict[str, list[tuple[ast.AST, ast.Call]]] = field(default_factory=dict)
    busy: set[tuple[int, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        for tree in self.trees.values():
            self._read(tree, tree)

    def _read(self, node: ast.AST, scope: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef):
                self.functions.setdefault(child.name, []).append(child)
            if isinstance(child, ast.Call):
                self.calls.setdefault(called(child), []).append((scope, child))
            self._read(child, child if isinstance(child, ast.FunctionDef) else scope)

    def refused(self) -> list[str]:
        """The texts that are drawn and cannot be followed to something safe."""
        found = []
        for name, tree in self.trees.items():
            for scope, call in self._drawing(tree, tree):
                for text in drawn(call):
                    if not self.is_safe(text, scope):
                        found.append(f"{name}:{text.lineno}: {ast.unparse(text)}")
        return found

    def _drawing(self, node: ast.AST, scope: ast.AST) -> list[tuple[ast.AST, ast.Call]]:
        found = []
        for child in ast.iter_child_nodes(node):
            match child:
                case ast.Call(func=ast.Attribute(attr=name)) if name in DRAWN:
                    found.append((scope, child))
            found += self._drawing(child, child if isinstance(child, ast.FunctionDef) else scope)
        return found

    def is_safe(self, text: ast.expr, scope: ast.AST) -> bool:
        """Whether a text is the page's own, a number, or was made safe."""
        match text:
            case ast.Constant() | ast.Compare():
                return True
            case ast.FormattedValue(format_spec=ast.JoinedStr() as shape) if is_number(shape):
                return True
            case ast.Attribute(attr=name):
                return name in NUMBERS
            case ast.Name(id=name):
                return is_constant(name) or self._variable_is_safe(name, scope)
            case ast.Call():
                return self._call_is_safe(text, scope)
        parts = parts_of(text)
        return bool(parts) and all(self.is_safe(part, scope) for part in parts)

    def _call_is_safe(self, call: ast.Call, scope: ast.AST) -> bool:
        name = called(call)
        if name in METHODS and isinstance(call.func, ast.Attribute):
            arguments = call.args[1:] if name == "get" else call.args
            return all(self.is_safe(part, scope) for part in (call.func.value, *arguments))
        if name in SAFE:
            return True
        if name in {"sorted", "list", "tuple", "enumerate", "zip", "range", "min", "max"}:
            return all(self.is_safe(part, scope) for part in call.args)
        made = self.functions.get(name, [])
        return bool(made) and all(self._returns_are_safe(function) for function in made)

    def _returns_are_safe(self, function: ast.FunctionDef) -> bool:
        key = (id(function), "return")
        if key in self.busy:
            return True
        self.busy.add(key)
        returned = [node.value for node in ast.walk(function) if isinstance(node, ast.Return)]
        safe = all(value is None or self.is_safe(value, function) for value in returned)
        self.busy.discard(key)
        return safe

    def _variable_is_safe(self, name: str, scope: ast.AST) -> bool:
        key = (id(scope), name)
        if key in self.busy:
            return True
        self.busy.add(key)
        values = [*assigned(name, scope)]
        safe = all(self.is_safe(value, scope) for value in values)
        arguments = self._arguments(name, scope)
        safe = safe and all(self.is_safe(value, where) for where, value in arguments)
        self.busy.discard(key)
        return safe and bool(values or arguments)

    def _arguments(self, name: str, scope: ast.AST) -> list[tuple[ast.AST, ast.expr]]:
        """What is given to a function under the name of one of its parameters."""
        if not isinstance(scope, ast.FunctionDef):
            return []
        parameters = [one.arg for one in (*scope.args.args, *scope.args.kwonlyargs)]
        if name not in parameters:
            return []
        place = parameters.index(name)
        declared = [*scope.args.args, *scope.args.kwonlyargs][place].annotation
        if declared is not None and ast.unparse(declared) in {"int", "float", "bool"}:
            return [(scope, ast.Constant(0))]
        if parameters[0] == "self":
            place -= 1
        given: list[tuple[ast.AST, ast.expr]] = []
        for where, call in self.calls.get(scope.name, []):
            given += [(where, word.value) for word in call.keywords if word.arg == name]
            given += [(where, value) for value in call.args[place : place + 1]]
        return given


def called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else ast.unparse(call.func)


def drawn(call: ast.Call) -> list[ast.expr]:
    words = [word.value for word in call.keywords if word.arg in DRAWN_ARGUMENTS]
    # The first argument of a progress bar is a number.
    return words + ([] if called(call) == "progress" else call.args[:1])


def is_constant(name: str) -> bool:
    return name.strip("_").isupper()


def parts_of(text: ast.expr) -> list[ast.expr]:
    """What a text is made of; nothing where that cannot be told."""
    match text:
        case ast.JoinedStr(values=parts) | ast.BoolOp(values=parts) | ast.Dict(values=parts):
            return parts
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            return parts or [ast.Constant("")]
        case ast.FormattedValue(value=part) | ast.NamedExpr(value=part) | ast.Subscript(value=part):
            return [part]
        case ast.Starred(value=part) | ast.GeneratorExp(elt=part) | ast.ListComp(elt=part):
            return [part]
        case ast.BinOp(left=first, right=second) | ast.IfExp(body=first, orelse=second):
            return [first, second]
    return []


def is_number(shape: ast.JoinedStr) -> bool:
    written = "".join(str(part.value) for part in shape.values if isinstance(part, ast.Constant))
    return written.endswith(NUMBER_FORMATS) or "%" in written


def assigned(name: str, scope: ast.AST) -> list[ast.expr]:
    """All that a variable of a function can be."""
    found: list[ast.expr] = []
    for node in ast.walk(scope):
        pairs: list[tuple[ast.expr, ast.expr]] = []
        match node:
            case ast.Assign(targets=targets, value=value):
                pairs = [(target, value) for target in targets]
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                pairs = [(target, value)]
            case (
                ast.AugAssign(target=target, value=value)
                | ast.NamedExpr(target=target, value=value)
            ):
                pairs = [(target, value)]
            case ast.For(target=target, iter=value) | ast.comprehension(target=target, iter=value):
                each = value.elts if isinstance(value, ast.Tuple | ast.List) else [value]
                pairs = [(target, one) for one in each]
            case ast.Call(func=ast.Attribute(value=target, attr="append" | "extend"), args=[value]):
                pairs = [(target, value)]
        for target, value in pairs:
            if isinstance(target, ast.Name) and target.id == name:
                found.append(value)
            elif isinstance(target, ast.Tuple):
                found += of_tuple(name, target, value)
    return found


def of_tuple(name: str, target: ast.Tuple, value: ast.expr) -> list[ast.expr]:
    """What one of several variables is given; all of it where it cannot be told apart."""
    for place, one in enumerate(target.elts):
        if isinstance(one, ast.Tuple) and (inner := of_tuple(name, one, part_of(value, place))):
            return inner
        if isinstance(one, ast.Name) and one.id == name:
            return [part_of(value, place)]
    return []


def part_of(value: ast.expr, place: int) -> ast.expr:
    match value:
        case ast.Tuple(elts=parts) | ast.Call(func=ast.Name(id="zip"), args=parts):
            return parts[place] if place < len(parts) else value
        case ast.Call(func=ast.Name(id="enumerate"), args=[counted, *_]):
            return counted if place else ast.Constant(0)
    return value


# What cannot be followed, and was read: why it holds nothing of a document, an answer or a file.
READ = {
    "f'{_NAMES[name]}: {old} → **{new}**'": "numbers of two settings",
    "QuerySettings.model_fields[name].description": "our own words in rag.settings",
    "f'### {form.format(score.score)} :gray-badge[{band(share)}]'": "a number, and one of BANDS",
    "f'Set by `{variable}`'": "one of our variables",
    "f'Judged by {plain(judgement.model)}{spent}'": "numbers in a format",
    "f'Trying the {part} …'": "one of three parts",
    "f':material/key: API key: set (`{found}`)'": "one of our variables",
}
READ_IN_PART = {
    "_spent(answers.tokens, answers.cost)": "numbers in a format",
    "`{variable}`": "one of our variables",
    "`{variables[0]}`": "one of our variables",
}


def read(**sources: str) -> Pages:
    return Pages({name: ast.parse(source) for name, source in sources.items()})


def test_every_text_that_a_page_draws_was_made_safe() -> None:
    pages = Pages({str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in PAGES})
    known = [*READ, *READ_IN_PART]
    assert [one for one in pages.refused() if not any(part in one for part in known)] == []


@pytest.mark.parametrize(
    "drawing",
    [
        "st.markdown(TEXT)",
        "st.caption(f'Named {TEXT}')",
        "st.error('Failed: ' + TEXT)",
        "name = TEXT\n    st.toast(name)",
        "parts = ['a']\n    parts.append(TEXT)\n    st.info(' '.join(parts))",
        "st.button('Go', help=TEXT)",
        "bar.progress(0.5, text=TEXT)",
        "show(TEXT)",
        "st.caption(' '.join(TEXT for one in record.all))",
        "st.caption(TEXT if record.name else 'none')",
    ],
)
def test_the_check_itself_sees_what_was_not_made_safe(drawing: str) -> None:
    page = f"""
def show(text: str) -> None:
    st.markdown(text)
def named(record) -> str:
    return f"**{{plain(record.name)}}**"
def bare(record) -> str:
    return f"**{{record.name}}**"
def page(record) -> None:
    show('a')
    {drawing}
"""
    for text in ("record.name", "str(record.name)", "bare(record)", 'record["name"]', "unknown()"):
        assert read(page=page.replace("TEXT", text)).refused(), text
    for text in ("plain(record.name)", "named(record)", 'WORDS["a"]', "len(record.name)"):
        assert read(page=page.replace("TEXT", text)).refused() == [], text


def test_a_table_is_drawn_as_markdown_too_and_only_where_its_words_are_our_own() -> None:
    drawing = {
        str(path.relative_to(ROOT / "pages"))
        for path in PAGES
        if "st.table(" in path.read_text(encoding="utf-8")
    }
    assert drawing == {
        "_evaluation/answers.py",
        "_evaluation/figures.py",
        "_settings/effect_shown.py",
    }


def test_the_language_of_a_golden_set_is_only_read() -> None:
    """A set may come from anywhere, and its languages head a table."""
    figure = AnswerFigure(Figure(0.5, 0.4, 0.6), 3)
    groups = [ALL, "en", *(way.text for way in WAYS)]
    shown = answers.table(
        Answers("a model", "none", figures={group: {"token_f1": figure} for group in groups})
    )
    assert len(shown) == 1 + len(groups)
    assert [danger for head in shown for danger in dangers(head)] == []
