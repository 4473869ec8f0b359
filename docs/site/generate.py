"""Write the parts of reference pages that follow from code, between their two comments.

    python docs/site/generate.py

A page has hand-written text and blocks, each of which names what it is generated from:

    <!-- generated: keys of ratchet.config.Release -->

    | Key | Type | Default | Meaning |
    ...

    <!-- end -->

- ``keys of MODULE.MODEL``: the fields of a pydantic model and of the models in them. What they mean
  is in the section ``Attributes`` of the docstring of their model.
- ``sections of MODULE.MODEL``: the same without the fields of the models in it.
- ``commands``, ``command NAME``: the commands of ``kedro ratchet``, from click.

``make docs`` calls this, and a test fails where a page is stale.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from html import escape
from importlib import import_module
from pathlib import Path
from typing import Any, get_args, get_origin

import click
from griffe import Docstring, DocstringSectionKind
from pydantic import BaseModel

from ratchet.commands import COMMANDS, ratchet

DOCS = Path(__file__).parents[1]
BLOCK = re.compile(r"(<!-- generated: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)
BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
TYPES = {"string": "text", "boolean": "`true` or `false`"}

Schema = Mapping[str, Any]


def main() -> None:
    """Bring all pages up to date, and print which were not."""
    for page in sorted(DOCS.glob("*/*.md")):
        text = page.read_text(encoding="utf-8")
        if text != (new := with_blocks(text)):
            page.write_text(new, encoding="utf-8")
            print(f"{page.relative_to(DOCS.parent)} is written")


def with_blocks(text: str) -> str:
    """A page whose blocks are generated again."""
    return BLOCK.sub(lambda match: f"{match[1]}\n{block(match[2])}\n\n{match[3]}", text)


def block(source: str) -> str:
    """What a block has to contain.

    Raises:
        ValueError: there is nothing of that name.
    """
    match source.split():
        case ["keys" | "sections" as what, "of", name]:
            rows = [*_keys(_model(name), nested=what == "keys")]
            return _table(("Key", "Type", "Default", "Meaning"), rows)
        case ["commands"]:
            rows = [(f"[`{name}`](#{name})", text) for name, text in _listed().items()]
            return _table(("Command", "Does"), rows)
        case ["command", name] if name in _listed():
            top = click.Context(ratchet, info_name="kedro ratchet")
            return "\n\n".join(_command(name, top))
    raise ValueError(f"{source}: expected 'keys of', 'sections of', 'commands' or 'command'")


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    cells = [[_cell(text) for text in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *cells])


def _cell(text: str) -> str:
    """A text without ``|``: GitHub and Python-Markdown do not agree on how to write it in code."""
    parts = text.split("`")  # code is every second one
    for n in range(1, len(parts), 2):
        parts[n] = f"<code>{escape(parts[n])}</code>" if "|" in parts[n] else f"`{parts[n]}`"
    return "".join(parts).replace("|", "&#124;")


# ----------------------------------------------------------------------------------------- settings


def _model(name: str) -> type[BaseModel]:
    module, _, model = name.rpartition(".")
    found: type[BaseModel] = getattr(import_module(module), model)
    return found


def _keys(
    model: type[BaseModel], prefix: str = "", *, nested: bool = True
) -> Iterator[tuple[str, ...]]:
    """Rows of a table: key, type, default and meaning of every field."""
    schema = model.model_json_schema()
    meanings = _meanings(model)
    for name, field in model.model_fields.items():
        properties = schema["properties"][name]
        if properties.get("readOnly"):
            continue
        if name not in meanings:
            raise ValueError(f"{model.__name__}.{name}: missing in Attributes of the docstring")
        type_ = _type(properties, schema.get("$defs", {}))
        default = "required" if field.is_required() else _default(field.get_default())
        yield f"`{prefix}{name}`", type_, default, meanings[name]
        if nested:
            for inner, path in _models(field.annotation, f"{prefix}{name}."):
                yield from _keys(inner, path)


def _meanings(model: type[BaseModel]) -> dict[str, str]:
    """Name of a field -> what the docstring of its model says of it."""
    sections = Docstring(inspect.getdoc(model) or "").parse("google", warn_missing_types=False)
    return {
        attribute.name: _in_line(attribute.description).removesuffix(".")
        for section in sections
        if section.kind is DocstringSectionKind.attributes
        for attribute in section.value
    }


def _in_line(text: str) -> str:
    """A text of a docstring, in one line of Markdown."""
    return " ".join(text.split()).replace("``", "`").replace(" -> ", " → ")


def _models(annotation: Any, path: str) -> Iterator[tuple[type[BaseModel], str]]:
    """Models in an annotation, and the path of their keys: ``*`` is any name."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, path
        return
    is_mapping = get_origin(annotation) in (dict, Mapping)
    for argument in get_args(annotation)[is_mapping:]:
        yield from _models(argument, f"{path}*." if is_mapping else path)


def _type(schema: Schema, definitions: Schema) -> str:  # noqa: PLR0911 - one for each kind
    """A JSON schema in words."""

    def inner(schema: Schema) -> str:
        return _type(schema, definitions)

    match schema:
        case {"$ref": name}:
            return inner(definitions[name.rpartition("/")[2]])
        case {"anyOf": parts}:
            null = {"type": "null"}
            # Where null is the default, the column beside says so.
            is_said = schema.get("default", ...) is None
            return _or([inner(part) for part in parts if part != null or not is_said])
        case {"enum": values}:
            return _or([f"`{value}`" for value in values])
        case {"const": value}:
            return f"`{value}`"
        case {"properties": _}:
            return "section"
        case {"type": "array", "prefixItems": items}:
            return f"[{', '.join(map(inner, items))}]"
        case {"type": "array", "items": items}:
            return f"list of {inner(items)}"
        case {"type": "object", "additionalProperties": values}:
            return f"name → {inner({} if values is True else values)}"
    kind = schema.get("format", schema.get("type", "anything"))
    bounds = [f"{sign} {schema[name]:g}" for name, sign in BOUNDS.items() if name in schema]
    return f"{TYPES.get(kind, kind)} {' and '.join(bounds)}".strip()


def _or(words: list[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


def _default(value: Any) -> str:
    if isinstance(value, BaseModel):
        return "its defaults"
    if value is None or value in ([], {}, (), ""):
        return "none"
    match value:
        case bool():
            value = str(value).lower()
        case list():
            value = f"[{', '.join(map(str, value))}]"
        case float():
            value = f"{value:g}"
        case str() if value != value.strip():
            value = f'"{value}"'
    return f"`{value}`"


# ----------------------------------------------------------------------------------------- commands


def _listed() -> dict[str, str]:
    """Name -> first sentence of the help, of commands that are not hidden."""
    return {name: sentence for name, (_, sentence) in sorted(COMMANDS.items()) if sentence}


def _command(name: str, parent: click.Context) -> Iterator[str]:
    """A command, or a group with its commands, in Markdown."""
    assert isinstance(parent.command, click.Group)
    command = parent.command.get_command(parent, name)
    assert command is not None
    context = click.Context(command, parent=parent, info_name=name)
    text = inspect.cleandoc(command.help or "").replace("<", "&lt;")
    if isinstance(command, click.Group):
        yield text
        for inner in command.list_commands(context):
            yield f"### `{name} {inner}`"
            yield from _command(inner, context)
        return
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield f"```text\n{usage}\n```"
    yield text
    records = [(each, each.get_help_record(context)) for each in command.params]
    rows = [_option(each, *record) for each, record in records if record and record[1]]
    yield _table(("Option", "Meaning"), rows)


def _option(parameter: click.Parameter, names: str, meaning: str) -> tuple[str, str]:
    """Names and meaning of an option; the words it may be go from the former to the latter."""
    meaning = meaning.replace("[required]", "Required.")
    meaning = re.sub(r"\[default: (.*)\]", r"Default: `\1`.", meaning)
    if isinstance(parameter.type, click.Choice):
        names = names.partition(" [")[0]
        meaning += f" One of {_or([f'`{word}`' for word in parameter.type.choices])}."
    return f"`{names}`", _in_line(meaning)


if __name__ == "__main__":
    sys.exit(main())
