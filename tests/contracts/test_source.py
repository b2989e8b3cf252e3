"""How the code reads: short files, documented and annotated names, no print outside the command line."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "adaface"
MAX_LINES = 400
MAX_FILES = 14  # what face and pipelines hold: a listing that is read at a glance; more is two rooms

Named = Iterator[tuple[str, ast.AST]]


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.Module]:
    """Each file of the package, parsed."""
    return {
        path.relative_to(SOURCE).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(SOURCE.rglob("*.py"))
    }


def public(trees: dict[str, ast.Module]) -> Named:
    """Public functions and classes of all files, with the public methods of public classes."""
    for file, tree in trees.items():
        yield from public_of(tree.body, f"{file}: ")


def public_of(body: list[ast.stmt], prefix: str) -> Named:
    for node in body:
        if isinstance(
            node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
        ) and not node.name.startswith("_"):
            if is_stub(node):
                continue
            yield prefix + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from public_of(node.body, f"{prefix}{node.name}.")


def is_stub(node: ast.AST) -> bool:
    """An overload or a setter: the function that it belongs to speaks for it."""
    marks = [ast.unparse(mark) for mark in getattr(node, "decorator_list", [])]
    return any(mark.split(".")[-1] in ("overload", "setter") for mark in marks)


def calls(tree: ast.Module) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def test_a_file_is_short_enough_to_read():
    lines = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCE.rglob("*.py")}
    assert {name: count for name, count in lines.items() if count > MAX_LINES} == {}


def test_a_room_holds_few_files():
    rooms = {
        folder.relative_to(SOURCE).as_posix(): len(list(folder.glob("*.py")))
        for folder in [SOURCE, *SOURCE.rglob("*")]
        if folder.is_dir()
    }
    assert {name: count for name, count in rooms.items() if count > MAX_FILES} == {}


def test_a_file_opens_with_its_place(trees):
    assert [file for file, tree in trees.items() if not ast.get_docstring(tree)] == []


def test_every_public_name_has_a_docstring(trees):
    assert [name for name, node in public(trees) if not ast.get_docstring(node)] == []


def test_every_argument_and_result_of_a_public_function_is_annotated(trees):
    bare = []
    for name, node in public(trees):
        if not isinstance(node, ast.FunctionDef):
            continue
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        bare += [
            f"{name}({a.arg})" for a in arguments if a.annotation is None and a.arg not in ("self", "cls")
        ]
        bare += [] if node.returns is not None else [f"{name} ->"]
    assert bare == []


def test_only_the_command_line_prints(trees):
    found = [
        f"{file}:{call.lineno}"
        for file, tree in trees.items()
        if not file.startswith("cli/")
        for call in calls(tree)
        if isinstance(call.func, ast.Name) and call.func.id in ("print", "breakpoint")
    ]
    assert found == []


def test_torch_load_never_unpickles(trees):
    """Weights are safetensors; what torch.load reads (an optimiser's state) it reads as plain tensors."""
    found = [
        f"{file}:{call.lineno}"
        for file, tree in trees.items()
        for call in calls(tree)
        if ast.unparse(call.func) == "torch.load"
        and not any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in call.keywords)
    ]
    assert found == []
