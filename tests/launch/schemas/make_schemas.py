"""Makes the schemas in this directory from what JobSet and SkyPilot publish; see README.md.

    git clone --depth=1 --branch=main https://github.com/kubernetes-sigs/jobset
    pip install skypilot==0.14.1 pyyaml
    python tests/launch/schemas/make_schemas.py jobset

Descriptions and Kubernetes' own extensions are left out, and fields that a schema does not name
are refused: Kubernetes drops them without a word, which hides every misspelling.
"""

import json
import sys
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
CRD = "config/components/crd/bases/jobset.x-k8s.io_jobsets.yaml"


def jobset(repository: Path) -> dict[str, Any]:
    """The schema of JobSet v1alpha2, out of its CustomResourceDefinition."""
    definition = yaml.safe_load((repository / CRD).read_text())
    (version,) = definition["spec"]["versions"]
    schema = _reduced(version["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = _METADATA
    schema["required"] = ["apiVersion", "kind", "metadata", "spec"]
    return schema


def skypilot() -> dict[str, Any]:
    """The schema of a task, with that of its resources in its place."""
    from sky.utils import schemas

    schema = schemas.get_task_schema()
    schema["properties"] = {
        name: value for name, value in schema["properties"].items() if not name.startswith("_")
    }
    resources = schemas.get_resources_schema()
    resources.pop("$schema", None)
    schema["properties"]["resources"] = resources
    schema["properties"]["config"] = {"type": "object"}
    return _closed(schema)


def _closed(node: Any) -> Any:
    """SkyPilot's client lets fields through that only its server may know."""
    if isinstance(node, list):
        return [_closed(each) for each in node]
    if not isinstance(node, dict):
        return node
    return {
        name: False if name == "additionalProperties" and value is True else _closed(value)
        for name, value in node.items()
    }


def _reduced(node: Any) -> Any:
    if isinstance(node, list):
        return [_reduced(each) for each in node]
    if not isinstance(node, dict):
        return node
    reduced = {
        name: _reduced(value)
        for name, value in node.items()
        if not (name == "description" and isinstance(value, str))
        and not name.startswith("x-kubernetes")
    }
    if node.get("x-kubernetes-int-or-string"):
        reduced["type"] = ["integer", "string"]
    if reduced.get("type") == "object" and isinstance(reduced.get("properties"), dict):
        reduced["additionalProperties"] = False
    return reduced


_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
_METADATA = {  # the definition leaves it to Kubernetes
    "type": "object",
    "required": ["name"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"},
        "namespace": {"type": "string"},
        "labels": _TEXTS,
        "annotations": _TEXTS,
    },
}


if __name__ == "__main__":
    for name, schema in (("jobset", jobset(Path(sys.argv[1]))), ("skypilot", skypilot())):
        text = json.dumps(schema, sort_keys=True, separators=(",", ":"))
        (HERE / f"{name}.json").write_text(text + "\n")
