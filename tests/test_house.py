"""The rules of the house: the floors, torch's absence on the laptop side, and what may stand where."""

import ast
import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "featx").rglob("*.py"))
FLOORS = {
    "errors": 0, "schema": 0,
    "featureset": 1, "merging": 1, "landing": 1,
    "store": 2, "images": 2,
    "networks": 3, "analysis": 3,
    "extraction": 4, "preparing": 4, "report": 4,
    "training": 5, "relevance": 5,
    "study": 6,
    "api": 7,
}  # fmt: skip


def _module(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _wing(module):
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


@pytest.mark.parametrize("path", SOURCES, ids=_module)
def test_a_module_imports_only_from_its_own_room_and_lower_floors(path):
    here = _wing(_module(path))
    for module in _imports(path):
        if module.startswith("featx.") and here:
            there = _wing(module)
            if there in FLOORS and there != here:
                assert FLOORS[there] < FLOORS[here] or (here, there) == ("images", "store"), (
                    f"{path} imports {module}"
                )
        assert not module.startswith("featx_cli"), f"{path} imports the command line"


FIGURES = {f"report/figures/{path.name}" for path in (ROOT / "featx/report/figures").glob("*.py")} - {
    "report/figures/__init__.py"
}


@pytest.mark.parametrize(
    "library, only",
    [
        ("h5py", {"store.py", "networks/keras_file.py"}),  # our files, and those of Keras
        ("nibabel", {"images/volume.py"}),
        ("ants", {"preparing/register.py"}),
        ("matplotlib", FIGURES),
        ("umap", {"report/sections/spaces.py"}),
    ],
)
def test_few_files_know_a_library(library, only):
    users = {
        str(path.relative_to(ROOT / "featx"))
        for path in SOURCES
        if any(module and module.split(".")[0] == library for module in _imports(path))
    }
    assert users == only


LAPTOP = ("", "errors", "schema", "featureset", "landing", "merging", "store", "analysis", "report", "study", "api")


def _laptop_modules():
    laptop = [path for path in SOURCES if _wing(_module(path)) in LAPTOP]
    cli = [f"featx_cli.{path.stem}" for path in sorted((ROOT / "cli").glob("*.py")) if path.stem != "__init__"]
    return [*map(_module, laptop), "featx.images.index", "featx.images.synthetic", "featx.networks", *cli]


def test_the_laptop_side_imports_without_torch():
    """And without nilearn, which only the demo's made brains need."""
    script = (
        "import sys\nclass Without:\n    def find_spec(self, name, *_):\n"
        "        if name in ('torch', 'torchvision', 'nilearn'): raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Without())\n"
    )
    script += "".join(f"import {module}\n" for module in _laptop_modules())
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_importing_featx_is_light():
    script = "import sys, featx.errors, featx.schema; print([m for m in ('numpy', 'pandas') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.strip() == "[]"


FORBIDDEN = {
    "print": r"(?<![\w.])print\(",
    "argv": r"sys\.argv",
    "the environment": r"os\.environ|os\.getenv",
    "a global seed": r"np\.random\.seed|(?<!    )\brandom\.seed\(",
    "logging's configuration": r"logging\.basicConfig",
    "unpickling": r"pickle\.load|joblib\.load|weights_only=False",
    "an assert": r"^\s*assert\b",
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_below_the_command_line_there_is_no(what):
    for path in SOURCES:
        code = "\n".join(line for line in path.read_text().splitlines() if not line.lstrip().startswith(("#", ">>>")))
        assert not re.search(FORBIDDEN[what], code, re.MULTILINE), f"{path}: {what}"


def test_one_broad_except():
    broad = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler):
                names = {getattr(one, "id", "") for one in ast.walk(node.type)} if node.type else {"Exception"}
                # BaseException is caught once, to write what is finished, and raised again
                if "Exception" in names:
                    broad.append(_module(path))
    assert broad == ["featx.extraction.loader"]


@pytest.mark.parametrize("path", [*SOURCES, *sorted((ROOT / "cli").glob("*.py"))], ids=lambda path: path.stem)
def test_modules_and_functions_are_of_a_size_to_be_read(path):
    text = path.read_text()
    assert path.name not in ("utils.py", "helpers.py", "base.py", "common.py")
    assert text.count("\n") <= 450
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            docstring = ast.get_docstring(node, clean=False)
            body = node.body[1:] if docstring else node.body
            lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            assert lines <= 60, f"{path}: {node.name} has {lines} lines"
            positional = [arg.arg for arg in node.args.args if arg.arg not in ("self", "cls")]
            assert len(positional) <= 5 or path.parent.name == "cli", f"{path}: {node.name} takes {positional}"


def test_every_public_thing_is_documented():
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), path
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{path}: {node.name}"


def test_every_package_is_installed():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = set(config["options"]["packages"].split())
    assert listed == {_module(path) for path in SOURCES if path.name == "__init__.py"} | {"featx_cli"}


def test_the_readme_maps_every_module():
    readme = (ROOT / "README.md").read_text()
    missing = [_module(path) for path in SOURCES if path.name != "__init__.py" and path.name not in readme]
    assert not missing
