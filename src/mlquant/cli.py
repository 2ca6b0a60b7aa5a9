"""The command line: each stage of a subject is a command, whose options follow from the signature of its function.

A command loads only the file of its subject's commands, and the modules that it computes with.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import re
import shutil
import signal
import sys
import textwrap
from pathlib import Path
from typing import Any

from mlquant.core.errors import InputError, log
from mlquant.core.stage import UNSET, Parameter, Setting, Stage, range_in_words

SUBJECTS = ("speech", "vocoder", "networks", "quantisers", "codecs", "measures", "experiments", "listening", "studies")
SUBJECTS += ("report", "tools")
"""The folders with a file of commands, in the order of the graph."""
_DECLARED = re.compile(r"^@stage\b[\s\S]*?^def (\w+)\(", re.MULTILINE)


def command_names() -> dict[str, str]:
    """Return the subject of each command by the command's name. The files are read as text; nothing is imported."""
    texts = {subject: _file_of(subject).read_text(encoding="utf-8") for subject in SUBJECTS}
    return {name.replace("_", "-"): subject for subject, text in texts.items() for name in _DECLARED.findall(text)}


def stages() -> dict[str, Stage]:
    """Return all stages, by the names of their commands."""
    return {command: stage_of(command, subject) for command, subject in command_names().items()}


def kinds() -> list[str]:
    """Return the kinds of results with a key, which are the names of their folders in results/."""
    found = dict.fromkeys(stage.folder for stage in stages().values() if stage.folder)
    return ["optional_sources", *found]


def stage_of(command: str, subject: str) -> Stage:
    """Return the stage of a command of a subject."""
    module = importlib.import_module(f"mlquant.{subject}.stages")
    return getattr(module, command.replace("-", "_")).stage


def _file_of(subject: str) -> Path:
    return Path(__file__).with_name(subject) / "stages.py"


def main() -> None:
    """Run a command; bad input and files that cannot be used end in one line and exit status 1."""
    words = sys.argv[1:]
    names = command_names()
    if not words or words[0] not in names:
        _parser_of_all(names).parse_args(words)  # prints the help, or what is wrong, and exits
    command = words[0]
    stage = stage_of(command, names[command])
    out = None
    # An exception, as Ctrl-C raises one, so that no half-written file stays behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        values = _values(stage, vars(_parser_of(stage).parse_args(words[1:])))
        out = values.get(next((one.name for one in stage.parameters.values() if one.flag == "--out"), ""))
        stage.function(**values)
    except InputError as error:
        sys.exit("\n".join(f"mlquant {command}: {line}" for line in str(error).split("\n")))
    except OSError as error:
        sys.exit(f"mlquant {command}: {error.filename or out or 'output'}: {error.strerror or error}")
    except ModuleNotFoundError as error:
        sys.exit(f"mlquant {command}: package {error.name} is not installed, expected as in pyproject.toml")
    except KeyboardInterrupt:
        log(f"mlquant {command}: interrupted")
        sys.exit(130)


def _parser_of_all(names: dict[str, str]) -> argparse.ArgumentParser:
    """Return the parser for `mlquant --help`, with the first sentence about every command, by subject."""
    lines = ["commands, in the order of the graph:"]
    for subject in SUBJECTS:
        lines.append(f"\n  {subject}:")
        commands = (command for command, of in names.items() if of == subject)
        lines += [f"    {command:<16}{_first_sentence(command, subject)}" for command in commands]
    lines += ["", "mlquant COMMAND --help lists the settings of a command."]
    parser = argparse.ArgumentParser(
        prog="mlquant",
        usage="mlquant [-h] COMMAND ...",
        description="Quantisation of speech vocoder features, by stages.",
        epilog="\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, help=argparse.SUPPRESS)
    for command in names:
        subparsers.add_parser(command)
    return parser


def _first_sentence(command: str, subject: str) -> str:
    """Return the first line about a command, read from the text of its file; nothing is imported."""
    functions = (one for one in ast.parse(_file_of(subject).read_bytes()).body if isinstance(one, ast.FunctionDef))
    function = next(one for one in functions if one.name == command.replace("-", "_"))
    return (ast.get_docstring(function) or "").partition("\n")[0]


class _Parser(argparse.ArgumentParser):
    """The parser of a command, whose help ends with the keys of a JSON object and an example."""

    stage: Stage

    def format_help(self) -> str:
        lines = _keys_of(self.stage)
        words = f"mlquant {self.stage.command} {self.stage.example}"
        parts = [part.replace(" ", "\0") for part in re.split(" (?=-)", words)]  # an option stays with its value
        lines += ["", "example:", *_wrapped(" ".join(parts), "  ", "      ", " \\")]
        return super().format_help() + "\n".join(lines).replace("\0", " ") + "\n"


def _parser_of(stage: Stage) -> argparse.ArgumentParser:
    """Return the parser of a command, made from the signature of its function."""
    about = inspect.getdoc(stage.function) or ""
    parser = _Parser(
        prog=f"mlquant {stage.command}",
        description="\n\n".join("\n".join(_wrapped(" ".join(part.split()))) for part in about.split("\n\n")),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.stage = stage
    for one in stage.ordered:
        _add(parser, one)
    return parser


def _keys_of(stage: Stage) -> list[str]:
    """Return the lines of the help on the keys of the JSON object that a stage takes, if it takes one.

    Only here are the blocks of settings loaded.
    """
    if stage.whole is None or not isinstance(stage.whole.about, Setting) or not stage.whole.about.block:
        return []
    from mlquant.plan.schema import listed

    name, lines = stage.whole.flag or stage.whole.name, []
    for title, about, keys in listed(stage.whole.about.block):
        lines += ["", *_wrapped(f"keys of {name}{f', {title}' if title else ''}: {about}", "", "  ")]
        for key in keys:
            default = key.default.strip('"') or "none"
            words = _in_brackets(key.about, key.range, default, required=key.default == "required")
            lines += _entry(key.name, words.replace("`", ""))
    return lines


def _entry(name: str, about: str) -> list[str]:
    """Return the lines of the help on a name, as argparse lays them out."""
    wrapped = _wrapped(about, " " * 24, " " * 24)
    head = f"  {name}"
    if not wrapped or len(head) > 22:
        return [head, *wrapped]
    return [head.ljust(24) + wrapped[0].lstrip(), *wrapped[1:]]


def _wrapped(text: str, first: str = "", others: str = "", joint: str = "") -> list[str]:
    """Return text in lines of the terminal's width, each but the last with `joint` at its end."""
    width = max(shutil.get_terminal_size().columns - 2, 60)  # that of argparse
    options = {"initial_indent": first, "subsequent_indent": others}
    lines = textwrap.wrap(text, width - len(joint), **options, break_long_words=False, break_on_hyphens=False)
    return [line + joint for line in lines[:-1]] + lines[-1:]


def _in_brackets(about: str, values: str, default: str, required: bool) -> str:
    """Return a help with its range and default behind it."""
    said = "" if "by default" in about else f"default {default}"
    found = ["required" if required else said, values]
    return f"{about} ({'; '.join(filter(None, reversed(found)))})".replace(" ()", "")


def _add(parser: argparse.ArgumentParser, one: Parameter) -> None:
    options: dict[str, Any] = {"help": _help_of(one)}
    if one.flag is None or one.flag.startswith("-"):
        options["metavar"] = one.about.metavar or _metavar_of(one)
    if one.kind is bool:
        options = {"help": options["help"], "action": "store_true"}
    elif one.commas:
        options["type"] = lambda text: _names(str(one.flag), text)
    elif one.kind is not dict:
        options["type"] = one.kind
    if one.several and not one.commas:
        options["nargs"] = "*" if one.default is not UNSET else "+"
        if one.flag and one.role in ("setting", "output"):
            del options["nargs"]
            options["action"] = "append"
        elif one.flag:
            options["action"] = "extend"
    if one.flag is None:
        parser.add_argument(one.name, **options)
        return
    if one.default is UNSET:
        options["required"] = True
    flags = ["-o", "--out"] if one.flag == "--out" else [one.flag]
    parser.add_argument(*flags, dest=one.name, **options)


def _names(flag: str, text: str) -> list[Path]:
    """The names of codebooks, with commas between them."""
    if not all(text.split(",")):
        raise InputError(f"{flag}: found {text!r}, expected names of codebooks with commas between them")
    return [Path(name) for name in text.split(",")]


def _metavar_of(one: Parameter) -> str:
    if one.flag is None:
        return one.name
    return "FILE" if one.kind is Path else "JSON" if one.kind is dict else one.name.upper()


def _help_of(one: Parameter) -> str:
    """Return the help of a parameter, with its range and its default."""
    required = one.default is UNSET
    if not isinstance(one.about, Setting):
        return _in_brackets(one.about.help, "", "none", required).replace(" (required)", "").replace("%", "%%")
    values = "" if one.kind in (bool, dict) else range_in_words(one.kind, **one.about.bounds)
    default = "none" if one.default in (None, "", []) else "off" if one.default is False else str(one.default)
    return _in_brackets(one.about.help, values, default, required).replace("%", "%%")


def _values(stage: Stage, given: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a stage's function from those of the command line, checked against their bounds."""
    values = {}
    for name, one in stage.parameters.items():
        value = given[name]
        if value is None or (one.kind is bool and not value) or value == []:
            values[name] = None if one.default is UNSET else one.default
            continue
        if one.kind is dict:
            value = _json(value)
        if isinstance(one.about, Setting) and one.kind in (int, float):
            one.about.refuse_outside(str(one.flag or name).lstrip("-").replace("-", "_"), value)
        values[name] = value
    return values


def _json(text: str) -> dict:
    """Read an object that is given as JSON text or as the path of a JSON file."""
    from mlquant.core.disk import parse_json, read_json

    return parse_json(text, "settings") if text.lstrip().startswith("{") else read_json(text)


if __name__ == "__main__":
    main()
