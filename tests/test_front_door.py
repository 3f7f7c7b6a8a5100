"""What a new user meets first: README, documentation, citation, containers, notebooks."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import featx

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "docs/notebooks").glob("*.ipynb"))


def _run(*words, **more):
    return subprocess.run([str(word) for word in words], cwd=ROOT, capture_output=True, text=True, **more)


def test_the_site_is_built_without_a_warning(tmp_path):
    """In a strict build a broken link, a page that is missing or one too many is an error."""
    pytest.importorskip("mkdocs")
    words = (sys.executable, "-m", "mkdocs", "build", "--strict", "-f", "docs/mkdocs.yml", "-d", tmp_path / "site")
    done = _run(*words, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"})
    assert done.returncode == 0, done.stderr
    verbs = (tmp_path / "site/reference/verbs.html").read_text()
    for verb in ("index", "extract", "fit", "train", "compare", "run", "relevance", "networks add"):
        assert f"featx {verb}" in verbs
    pages = list((tmp_path / "site").rglob("*.html"))
    outside = r'(?:src|href)="https?://(?!squidfunk|www\.sitemaps)[^"]*\.(?:js|css|woff2?)"'
    assert not [page for page in pages if re.search(outside, page.read_text())]


@pytest.mark.parametrize("page", ["README.md", "benchmarks/README.md"])
def test_every_link_of_a_page_leads_somewhere(page):
    text = (ROOT / page).read_text()
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text)]
    assert links
    assert [link for link in links if link and "://" not in link and not ((ROOT / page).parent / link).exists()] == []


def test_every_call_of_the_readme_is_one_that_featx_takes():
    """Verbs and options, as they stand in README and documentation."""
    import typer

    from featx_cli.main import app

    root = typer.main.get_command(app)
    verbs = {name: root.get_command(None, name) for name in root.list_commands(None)}
    texts = [ROOT / "README.md", *sorted((ROOT / "docs/pages").rglob("*.md"))]
    n_calls = 0
    for path in texts:
        text = re.sub(r"\n +(?=-)", " ", path.read_text())  # a call that goes on in the next line
        for call in re.findall(r"^(?:    |\$ |\w+\$ +)+(?:PYTHONPATH=\. )?featx ([a-z].*)$", text, re.MULTILINE):
            words = call.split("#")[0].split()
            assert words[0] in verbs, f"{path}: {call}"
            command = verbs[words[0]]
            if words[0] == "networks":
                command = command.commands[words[1]]
            known = {name for one in command.params for name in (*one.opts, *one.secondary_opts)} | {"--help"}
            asked = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
            assert asked <= known, f"{path}: {call}"
            n_calls += 1
    assert n_calls > 40


def test_the_citation_is_valid_and_of_this_version():
    text = (ROOT / "CITATION.cff").read_text()
    assert f"version: {featx.__version__}\n" in text
    tool = shutil.which("cffconvert", path=Path(sys.executable).parent)
    if tool is None:
        pytest.skip("cffconvert is not installed")
    done = _run(tool, "--validate", "-i", "CITATION.cff")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_containers_install_what_there_is():
    """Extras that setup.cfg knows, folders that are there, and no root at the end."""
    extras = (ROOT / "setup.cfg").read_text().partition("extras_require]")[2]
    known = set(re.findall(r"^(\w+) =$", extras, re.MULTILINE))
    for name in ("Dockerfile", "featx.def"):
        text = (ROOT / name).read_text()
        (asked,) = re.findall(r'"\.\[([\w,]+)\]"', text)
        assert set(asked.split(",")) <= known, name
        copied = r"(?:COPY |^    )((?:setup|pyproject|README|LICENSE|featx|cli)[\w.]*)"
        for file in re.findall(copied, text, re.MULTILINE):
            assert (ROOT / file).exists(), f"{name}: {file}"
    assert re.findall(r"^USER (.*)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[-1] == "1000"


def test_the_dockerfile_is_clean():
    tool = shutil.which("hadolint", path=Path(sys.executable).parent)
    if tool is None:
        pytest.skip("hadolint is not installed")
    done = _run(tool, "Dockerfile")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_holds_what_it_printed(path, tmp_path):
    """Executed anew; every code cell of the stored one has been executed too."""
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    stored = nbformat.read(path, as_version=4)
    code = [cell for cell in stored.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [out for cell in code for out in cell.outputs if out.output_type == "error"]
    assert str(ROOT) not in path.read_text()
    client.NotebookClient(stored, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
