"""What an API server accepts, as the strict JSON schemas that kubeconform reads: a file for each kind.

    swagger.json, CustomResourceDefinitions  ──>  cronjob-batch-v1.json, servicemonitor-monitoring-v1.json …

Strict: a key that the API does not know is an error, as `kubectl apply --validate=strict` has it. The usual source of
such files is a web site; these are made of what the projects release.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

REFERENCE = "#/definitions/"
KINDS = "x-kubernetes-group-version-kind"
META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
# Written as text, though a number does as well.
EITHER: Mapping[str, list[str]] = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": ["string", "integer"],
    "io.k8s.apimachinery.pkg.api.resource.Quantity": ["string", "number"],
}


def write_schemas(api: Path, others: list[Path], target: Path) -> None:
    """Write the schema of every kind that is an object by itself."""
    definitions = json.loads(api.read_bytes())["definitions"]
    for name, types in EITHER.items():
        definitions[name] = {"type": types}
    for name, definition in definitions.items():
        if "$ref" not in definition.get("properties", {}).get("metadata", {}):
            continue
        for each in definition.get(KINDS, ()):
            if definition["properties"]["metadata"]["$ref"] != REFERENCE + META:
                continue
            (target / file_name(each["group"], each["version"], each["kind"])).write_text(
                json.dumps(_alone(name, definitions, each))
            )
    meta = {"$ref": REFERENCE + META, "definitions": _reached(META, definitions)}
    for path in others:
        custom = yaml.safe_load(path.read_text())["spec"]
        for version in custom["versions"]:
            schema = _strict(version["schema"]["openAPIV3Schema"])
            schema["properties"]["metadata"] = {"$ref": meta["$ref"]}
            schema["definitions"] = meta["definitions"]
            (target / file_name(custom["group"], version["name"], custom["names"]["kind"])).write_text(
                json.dumps(schema)
            )


def file_name(group: str, version: str, kind: str) -> str:
    """Return what kubeconform calls {{.ResourceKind}}{{.KindSuffix}}.json."""
    words = [kind, *group.split(".")[:1], version] if group else [kind, version]
    return "-".join(words).lower() + ".json"


def _alone(name: str, definitions: Mapping[str, Any], kind: Mapping[str, str]) -> dict[str, Any]:
    """One kind with all that it refers to."""
    version = f"{kind['group']}/{kind['version']}" if kind["group"] else kind["version"]
    schema: dict[str, Any] = _strict(definitions[name])
    schema["properties"] |= {"apiVersion": {"enum": [version]}, "kind": {"enum": [kind["kind"]]}}
    schema["required"] = sorted({"apiVersion", "kind", "metadata", *schema.get("required", ())})
    return schema | {"definitions": _reached(name, definitions)}


def _reached(name: str, definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that a definition refers to, itself included, since some refer to themselves."""
    found: dict[str, Any] = {}
    waiting = [name]
    while waiting:
        if (each := waiting.pop()) not in found:
            found[each] = _strict(definitions[each])
            waiting += _references(definitions[each])
    return found


def _references(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(reference := schema.get("$ref"), str):
            yield reference.removeprefix(REFERENCE)
        for value in schema.values():
            yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)


def _strict(schema: Any) -> Any:
    """A copy without prose, in which objects have no keys but those that are named."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    # Below `properties` the keys are names of the API's, such as `description`.
    copy = {
        key: {name: _strict(each) for name, each in value.items()} if key == "properties" else _strict(value)
        for key, value in schema.items()
        if not (key == "description" and isinstance(value, str))
    }
    is_open = "additionalProperties" in copy or schema.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(copy.get("properties"), dict) and copy.get("type") == "object" and not is_open:
        copy["additionalProperties"] = False
    return copy
