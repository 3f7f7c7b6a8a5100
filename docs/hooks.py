"""Reference pages that are made from the tables they describe, so that they cannot differ from them."""

from __future__ import annotations

from pathlib import Path

import typer
from mkdocs.structure.files import File

from featx import schema
from featx.analysis.heads import HEADS
from featx.analysis.runs import rundir
from featx.networks import NETWORKS
from featx.study.keys import KEYS, KINDS, TABLES
from featx.training.arms import ARMS
from featx.training.schedules import RECIPES
from featx_cli.main import app


def on_files(files, config):
    """Add the pages that are made, and the notebooks, to those that are written."""
    for name, page in PAGES.items():
        files.append(File.generated(config, f"reference/{name}.md", content=page()))
    here = Path(config.config_file_path).parent
    for path in sorted((here / "notebooks").glob("*.ipynb")):
        files.append(File.generated(config, f"notebooks/{path.name}", abs_src_path=str(path)))
    for path in sorted((here.parent / "benchmarks/results").glob("*.svg")):
        files.append(File.generated(config, f"results/{path.name}", abs_src_path=str(path)))
    return files


def _table(columns, rows):
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return "\n".join(lines + [f"| {' | '.join(_cell(one) for one in row)} |" for row in rows]) + "\n"


def _cell(value):
    return str(value).replace("|", "\\|").replace("\n", " ").replace("<", "&lt;") or " "


def verbs():
    """Every verb with the text and options of its `--help`."""
    parts = ["# Verbs\n\nEvery one says this itself: `featx VERB --help`.\n"]
    command = typer.main.get_command(app)
    context = typer.Context(command, info_name="featx")
    found = {name: command.get_command(context, name) for name in command.list_commands(context)}
    found |= {f"networks {name}": one for name, one in found.pop("networks").commands.items()}
    for name, one in found.items():
        text = (one.help or "").replace("\b", "").strip()
        prose, _, example = text.partition("Example")
        parts.append(f"## featx {name}\n\n{prose.strip()}\n")
        if example:
            call = example.partition(":")[2].strip("\n")
            parts.append(f"```\n{call}\n```\n")
        rows = [(f"`{_names(option)}`", option.help or "") for option in one.params if getattr(option, "help", None)]
        if rows:
            parts.append(_table(("option", "meaning"), rows))
    return "\n".join(parts)


def _names(option):
    return option.name.upper() if option.param_type_name == "argument" else ", ".join(option.opts)


def networks():
    """The table of networks."""
    rows = [(f"`{one.name}`", one.family, one.training) for one in NETWORKS.values()]
    text = f"# Networks\n\nThe {len(rows)} of the table; `featx networks show NAME` prints the whole card of one.\n\n"
    return text + _table(("network", "family", "trained on"), rows)


def heads():
    """Heads, arms and their recipes."""
    text = "# Heads and arms\n\n## Heads\n\n`featx heads` prints them.\n\n"
    rows = [(f"`{name}`", one.title, ", ".join(one.estimators), one.pipeline) for name, one in HEADS.items()]
    text += _table(("head", "title", "kinds of phenotype", "what is done, inside every fold"), rows)
    text += "\n## Arms of networks that train\n\n"
    text += _table(("arm", "what it is"), [(f"`{name}`", one.says) for name, one in ARMS.items()])
    text += "\n## Recipes\n\n"
    return text + _table(("recipe", "from"), [(f"`{name}`", one.source) for name, one in RECIPES.items()])


def studies():
    """Keys of a study's file."""
    text = "# Studies\n\n`featx init` writes a commented file, `featx run study.toml` does what it says.\n"
    for table, says in TABLES.items():
        rows = [
            (f"`{one.name}`", KINDS[one.kind], one.says, f"`{one.example}`") for one in KEYS if one.table == table
        ]
        text += f"\n## {table or 'Before all tables'}\n\n{says}\n\n" + _table(
            ("key", "is", "meaning", "example"), rows
        )
    return text


def feature_file():
    """The layout of features.h5, from the schema."""
    text = "# The feature file\n\n```text\n" + schema.__doc__.split("\n\n", 1)[1].strip() + "\n```\n\n"
    text += "## Attributes of a feature set\n\n" + _columns(schema.PROVENANCE)
    return text + "\n## Failures\n\n" + _columns(schema.FAILURES) + "\n## Jobs\n\n" + _columns(schema.JOBS)


def run_folder():
    """The tables of a run."""
    text = "# The run folder\n\nWhat `featx fit` and `featx train` write. All tables are CSV.\n"
    tables = {"predictions/TARGET.csv": schema.PREDICTIONS, schema.TRAINING_CURVES_CSV: schema.TRAINING_CURVES}
    tables = dict(rundir.TABLES.values()) | tables
    for file, columns in tables.items():
        text += f"\n## {file}\n\n" + _columns(columns)
    return text


def _columns(columns):
    return _table(("column", "type", "meaning"), [(f"`{one.name}`", one.dtype, one.meaning) for one in columns])


def reasons():
    """Why something is missing."""
    text = "# Reasons\n\nEvery image, person or phenotype that is left out has one of these in a table.\n\n"
    return text + _table(("code", "meaning"), [(f"`{code}`", one) for code, one in schema.REASONS.items()])


PAGES = {
    "verbs": verbs,
    "studies": studies,
    "networks": networks,
    "heads": heads,
    "feature_file": feature_file,
    "run_folder": run_folder,
    "reasons": reasons,
}
