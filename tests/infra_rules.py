"""What must hold of infra/, each rule a function that yields what is wrong, with its place.

`of_bicep` is what a compiler would say, as far as it can be had without one: names resolve, resources have
the properties that Microsoft's definitions give them, modules and parameter files fit what they name.
`of_project` is what only this project knows: settings, functions, tables, containers, roles, secrets.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, cast

from shared.errors import BadSettings
from shared.flowlog.blob_name import CONTAINERS, Kind
from shared.settings import read_settings
from tests.azure_types import Definition
from tests.bicep import (
    Bicep,
    Declaration,
    bare,
    calls,
    items,
    literal,
    loop_variables,
    names,
    properties,
    read,
    text,
    walk,
)

# Of the functions that Bicep has, those in use, with the type of what they return.
FUNCTIONS = {
    "empty": "bool",
    "environment": "object",
    "guid": "string",
    "indexOf": "int",
    "last": "any",
    "listKeys": "any",
    "resourceGroup": "object",
    "split": "array",
    "subscriptionResourceId": "string",
    "take": "string",
    "uniqueString": "string",
}

_KINDS = {"number": "int", "boolean": "bool", "binary_expression": "bool", "unary_expression": "bool"}

DECORATORS = {
    "allowed",
    "batchSize",
    "description",
    "maxLength",
    "maxValue",
    "minLength",
    "minValue",
}

# Bicep's own properties of a resource; Microsoft's definitions don't hold them.
OF_BICEP = {"dependsOn", "parent", "scope"}

# Settings that the host reads, not our code: what each is for stands beside it in main.bicep.
OF_HOST = {
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
    "AzureWebJobsStorage__blobServiceUri",
    "AzureWebJobsStorage__clientId",
    "AzureWebJobsStorage__credential",
    "AzureWebJobsStorage__queueServiceUri",
    "AzureWebJobsStorage__tableServiceUri",
    "FLOW_LOGS__queueServiceUri",
}

# https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
ROLES = {
    "blobDataContributor": "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
    "blobDataOwner": "b7e6dc6d-f1e8-4753-8033-0f276bb0955b",
    "metricsPublisher": "3913510d-42f4-4e42-8a64-420c390055eb",
    "queueDataContributor": "974c5e8b-45b9-4653-ba55-5f855dd0fb88",
    "tableDataContributor": "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3",
    "tableDataReader": "76199698-9eea-4c19-bc75-cec21354c6b6",
}

# What checkov does not insist on, and we do.
LOCKED = {
    "Microsoft.Insights/components": {"DisableLocalAuth": "true"},
    "Microsoft.OperationalInsights/workspaces": {"disableLocalAuth": "true"},
    "Microsoft.Storage/storageAccounts": {
        "allowBlobPublicAccess": "false",
        "allowSharedKeyAccess": "false",
        "minimumTlsVersion": "'TLS1_2'",
        "supportsHttpsTrafficOnly": "true",
    },
    "Microsoft.Storage/storageAccounts/blobServices/containers": {"publicAccess": "'None'"},
    "Microsoft.Web/sites": {"httpsOnly": "true", "minTlsVersion": "'1.2'", "scmMinTlsVersion": "'1.2'"},
}

# What may be made in somebody else's resource group.
ABROAD = {"Microsoft.Authorization/roleAssignments", "Microsoft.EventGrid/systemTopics"}

type Problems = Iterator[str]


@dataclass(frozen=True)
class Infra:
    """The folder: its files by their path in it, and the definitions of all resource types they use."""

    files: dict[str, Bicep]
    types: dict[str, Definition]

    @property
    def templates(self) -> list[Bicep]:
        """The `.bicep` files."""
        return [file for name, file in self.files.items() if name.endswith(".bicep")]

    @property
    def main(self) -> Bicep:
        """The first step's template."""
        return self.files["main.bicep"]

    @property
    def events(self) -> Bicep:
        """The third step's template."""
        return self.files["events.bicep"]


def read_infra(folder: Path, types: Callable[[set[str]], dict[str, Definition]]) -> Infra:
    """Read all files of a folder; ``types`` looks resource types up."""
    files = {
        str(path.relative_to(folder)): read(path)
        for path in sorted(folder.rglob("*.bicep*"))
        if path.suffix in (".bicep", ".bicepparam")
    }
    wanted = {
        resource.target.split("@")[0] for file in files.values() for resource in file.all("resource").values()
    }
    return Infra(files, types(wanted))


def of_bicep(infra: Infra) -> Problems:
    """What a compiler would say."""
    mistakes = [mistake for file in infra.files.values() for mistake in file.mistakes]
    if mistakes:
        yield from mistakes
        return
    for file in infra.templates:
        yield from _names(file)
        yield from _resources(file, infra)
        yield from _members(file, infra)
        yield from _known_too_late(file)
        yield from _circles(file)
        yield from _modules(file)
    for name, file in infra.files.items():
        if name.endswith(".bicepparam"):
            yield from _parameter_file(file)


def of_project(infra: Infra) -> Problems:
    """What only this project knows."""
    for file in infra.templates:
        yield from _descriptions(file)
        yield from _roles(file)
        yield from _secrets(file, infra)
        yield from _locks(file)
    yield from _abroad(infra)
    yield from _next_step(infra)
    yield from _settings(infra)
    yield from _functions(infra)
    yield from _tables_and_containers(infra)


# --- as a compiler would


def _names(file: Bicep) -> Problems:
    declared = {each.name for each in file.declarations if each.kind != "output"}
    used = set()
    for each in file.declarations:
        inside = [part for part in (each.value, *each.decorators.values()) if part is not None]
        for node in (name for part in inside for name in names(part)):
            used.add(text(node))
            if text(node) not in declared | loop_variables(each.node):
                yield f"{file.at(node)}: {text(node)} is nothing that is declared"
        for decorator in each.decorators.keys() - DECORATORS:
            yield f"{file.at(each.node)}: {decorator} is no decorator that is known"
        for function, node in (call for part in inside for call in calls(part)):
            if function not in FUNCTIONS:
                yield f"{file.at(node)}: {function} is no function that is known"
    for each in file.declarations:
        idle = each.kind in ("param", "var") or (each.kind == "resource" and each.existing)
        if idle and each.name not in used:
            yield f"{file.at(each.node)}: {each.kind} {each.name} is not used"


def _resources(file: Bicep, infra: Infra) -> Problems:
    for resource in file.all("resource").values():
        name, _, version = resource.target.partition("@")
        definition = infra.types[name][""]
        if definition["name"] != resource.target:
            yield f"{file.at(resource.node)}: {name} is checked as {definition['name']}, not {version}"
        if resource.existing:
            for key in resource.body.keys() - OF_BICEP - {"name"}:
                yield f"{file.at(resource.node)}: {resource.name} exists; {key} can't be set"
            continue
        value = resource.value
        assert value is not None
        own = {key: node for key, node in resource.body.items() if key not in OF_BICEP}
        yield from _Types(file, infra.types[name]).object(
            own, definition["bodyType"], bare(value), resource.name
        )


@dataclass(frozen=True)
class _Types:
    """Holds values against one resource type's definition."""

    file: Bicep
    definition: Definition

    def object(self, given: Mapping[str, Any], wanted: dict[str, Any], node: Any, where: str) -> Problems:
        """Properties against an object's definition."""
        at = self.file.at(node)
        if wanted["$type"] == "DiscriminatedObject":
            discriminator = wanted["discriminator"]
            kind = literal(given[discriminator]) if discriminator in given else None
            kinds = {_property(each, discriminator)["type"]: each for each in wanted["elements"]}
            if kind not in kinds:
                yield f"{at}: {where}.{discriminator} is {kind}; it must be one of {', '.join(sorted(kinds))}"
                return
            known = [*wanted["baseProperties"], *kinds[kind]["properties"]]
        else:
            known = wanted.get("properties", [])
        by_name = {each["name"]: each for each in known}
        for key, value in given.items():
            if key in by_name and "ReadOnly" not in by_name[key].get("flags", ""):
                yield from self.value(value, by_name[key]["type"], f"{where}.{key}")
            elif key in by_name:
                yield f"{self.file.at(value)}: {where}.{key} can only be read"
            elif "additionalPropertiesType" in wanted:
                yield from self.value(value, wanted["additionalPropertiesType"], f"{where}.{key}")
            else:
                yield f"{self.file.at(value)}: {where} has no property {key}"
        for key, each in by_name.items():
            if "Required" in each.get("flags", "") and key not in given:
                yield f"{at}: {where} lacks {key}"

    def value(self, node: Any, wanted: str, where: str) -> Problems:
        """A value against a type; what only deployment knows is let pass."""
        if node.type in ("parenthesized_expression", "ternary_expression"):
            for branch in node.named_children[node.type == "ternary_expression" :]:
                yield from self.value(branch, wanted, where)
        elif node.type in ("array", "for_statement"):
            yield from self._list(node, wanted, where)
        elif node.type == "object":
            yield from self._object(node, wanted, where)
        elif node.type == "string":
            yield from self._string(node, wanted.split(" | "), where)
        elif node.type == "identifier":
            yield from self._declared(node, wanted, where)
        else:
            kind = FUNCTIONS.get(text(node.children[0])) if node.children else None
            yield from self._kind(_KINDS.get(node.type, kind), wanted.split(" | "), node, where)

    def _list(self, node: Any, wanted: str, where: str) -> Problems:
        if not wanted.endswith("[]"):
            yield f"{self.file.at(node)}: {where} is a list; it must be {wanted}"
            return
        for item in items(node):
            yield from self.value(item, wanted.removesuffix("[]"), f"{where}[]")

    def _object(self, node: Any, wanted: str, where: str) -> Problems:
        if wanted in self.definition:
            yield from self.object(properties(node), self.definition[wanted], node, where)
        elif wanted not in ("any", "object"):
            yield f"{self.file.at(node)}: {where} is an object; it must be {wanted}"

    def _string(self, node: Any, options: list[str], where: str) -> Problems:
        given = literal(node)
        literals = [each for each in options if each != "string"]
        if not self._takes_string(options):
            yield f"{self.file.at(node)}: {where} is a string; it must be {' | '.join(options)}"
        elif given is not None and literals and "any" not in options and given not in literals:
            # Most lists of values are open, for values that are still to come; a slip is more likely.
            yield f"{self.file.at(node)}: {where} is {given!r}; it must be one of {', '.join(literals)}"

    def _declared(self, node: Any, wanted: str, where: str) -> Problems:
        variable = self.file.all("var").get(text(node))
        parameter = self.file.all("param").get(text(node))
        if variable is not None and variable.value is not None:
            yield from self.value(variable.value, wanted, where)
        elif parameter is not None:
            yield from self._kind(parameter.type, wanted.split(" | "), node, where)
            for choices in (
                items(parameter.decorators["allowed"]) if "allowed" in parameter.decorators else []
            ):
                for choice in items(choices):
                    yield from self.value(choice, wanted, where)

    def _kind(self, kind: str | None, options: list[str], node: Any, where: str) -> Problems:
        fits = {
            "string": self._takes_string(options),
            "int": bool({"int", "any"} & set(options)),
            "bool": bool({"bool", "any"} & set(options)),
            "array": options[0].endswith("[]") or "any" in options,
        }
        if kind is not None and not fits.get(kind, True):
            given = text(node) if node.type in _KINDS else f"of type {kind}"
            yield f"{self.file.at(node)}: {where} is {given}; it must be {' | '.join(options)}"

    def _takes_string(self, options: list[str]) -> bool:
        # In a union, a name is a literal, though there may be a type of that name as well.
        first = options[0]
        no_string = first in self.definition or first in ("int", "bool", "object") or first.endswith("[]")
        return len(options) > 1 or not no_string


def _property(definition: dict[str, Any], name: str) -> dict[str, Any]:
    return next(each for each in definition["properties"] if each["name"] == name)


def _members(file: Bicep, infra: Infra) -> Problems:
    resources, modules = file.all("resource"), file.all("module")
    for node in names(file.root):
        path, asked = _path(node), text(node)
        if not path:
            continue
        if asked in modules and _module_path(file, modules[asked]).is_file():
            outputs = read(_module_path(file, modules[asked])).all("output")
            if path != ["name"] and (path[0] != "outputs" or path[1] not in outputs):
                yield f"{file.at(node)}: module {asked} has no {'.'.join(path)}"
        elif asked in resources:
            definition = infra.types[resources[asked].target.split("@")[0]]
            if not _readable(definition, definition[""]["bodyType"], path):
                yield f"{file.at(node)}: {asked} has no {'.'.join(path)}"


def _readable(definition: Definition, of: dict[str, Any], path: list[str]) -> bool:
    if not path:
        return True
    types = {each["name"]: each["type"] for each in of.get("properties", [])}
    found = types.get(path[0], of.get("additionalPropertiesType"))
    if found is None:
        return False
    return found not in definition or _readable(definition, definition[found], path[1:])


# What of a resource is known before it is there, and may make up names and decide what there is.
_KNOWN_BEFORE = {"apiVersion", "id", "name", "type"}


def _known_too_late(file: Bicep) -> Problems:
    for each in (*file.all("resource").values(), *file.all("module").values()):
        decisive = [node for key, node in each.body.items() if key in ("location", "name", "scope")]
        for node in walk(each.node):
            if node.type in ("if_statement", "for_statement"):
                body = node.named_children[-1]
                decisive += [child for child in node.named_children if child != body]
        for node in decisive:
            for late in _late(file, node):
                yield f"{file.at(node)}: {each.name} depends on {late}, which is known too late"


def _late(file: Bicep, node: Any) -> Iterator[str]:
    resources, modules, variables = file.all("resource"), file.all("module"), file.all("var")
    for name in names(node):
        path, asked = _path(name), text(name)
        known = {"name"} if asked in modules else _KNOWN_BEFORE
        if (asked in modules or asked in resources) and path and path[0] not in known:
            yield f"{asked}.{'.'.join(path)}"
        elif asked in variables:
            value = variables[asked].value
            yield from _late(file, value) if value is not None else ()


def _path(node: Any) -> list[str]:
    """The members that are asked of a name: of ``a`` in ``a.b[0].c`` these are ``b`` and ``c``."""
    path = []
    parent = node.parent
    while parent is not None and parent.children[0] == node:
        if parent.type == "member_expression":
            path.append(text(parent.children[-1]))
        elif parent.type != "subscript_expression":
            break
        node, parent = parent, parent.parent
    return path


def _circles(file: Bicep) -> Problems:
    declared = {each.name: each for each in file.declarations if each.kind != "output"}
    graph = {
        name: {text(used) for used in names(each.value) if text(used) in declared} if each.value else set()
        for name, each in declared.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield f"{file.path.name}: a circle: {' -> '.join(error.args[1])}"


def _module_path(file: Bicep, module: Declaration) -> Path:
    return file.path.parent / module.target


def _modules(file: Bicep) -> Problems:
    for module in file.all("module").values():
        path = _module_path(file, module)
        if not path.is_file():
            yield f"{file.at(module.node)}: there is no {module.target}"
            continue
        for key in module.body.keys() - OF_BICEP - {"name", "params"}:
            yield f"{file.at(module.node)}: module {module.name} has no {key}"
        given = properties(module.body["params"]) if "params" in module.body else {}
        yield from _arguments(file, given, read(path), module.node)


def _parameter_file(file: Bicep) -> Problems:
    using = re.search(r"^using '(.*)'$", text(file.root), flags=re.MULTILINE)
    template = file.path.parent / using[1] if using else None
    if template is None or not template.is_file():
        yield f"{file.path.name}: uses no template that there is"
        return
    given = {each.name: each.value for each in file.declarations if each.value is not None}
    yield from _arguments(file, given, read(template), file.root)


def _arguments(file: Bicep, given: Mapping[str, Any], template: Bicep, node: Any) -> Problems:
    """What is handed over against a template's parameters."""
    parameters = template.all("param")
    kinds = {"string": "string", "number": "int", "boolean": "bool", "array": "array", "object": "object"}
    for name, value in given.items():
        if name not in parameters:
            yield f"{file.at(value)}: {template.path.name} has no parameter {name}"
            continue
        own = file.all("param").get(text(value))
        kind = own.type if own else kinds.get(value.type)
        if kind not in (None, parameters[name].type):
            yield f"{file.at(value)}: {name} is of type {kind}; it must be {parameters[name].type}"
    for name, parameter in parameters.items():
        if parameter.value is None and name not in given:
            yield f"{file.at(node)}: {template.path.name} needs {name}"


# --- as this project wants it


def _descriptions(file: Bicep) -> Problems:
    for each in file.declarations:
        if each.kind in ("param", "output") and not each.description:
            yield f"{file.at(each.node)}: {each.kind} {each.name} has no description"


def _roles(file: Bicep) -> Problems:
    for variable in file.all("var").values():
        role = literal(variable.value) if variable.value else None
        if variable.name in ROLES and role != ROLES[variable.name]:
            yield f"{file.at(variable.node)}: {variable.name} is {ROLES[variable.name]}"
    for resource in file.all("resource").values():
        if not resource.target.startswith("Microsoft.Authorization/roleAssignments@"):
            continue
        at = file.at(resource.node)
        if not resource.comment.startswith("Without it "):
            yield f"{at}: {resource.name} doesn't say what fails without it"
        given = properties(resource.body["properties"])
        roles = {text(name) for name in names(given["roleDefinitionId"])}
        if len(roles) != 1 or not roles <= ROLES.keys():
            yield f"{at}: {resource.name} assigns a role that is not known"
        # The name is what makes a second deployment find the first one's assignment.
        parts = {text(name) for name in names(resource.body["name"])}
        if not {text(resource.body["scope"]), text(given["principalId"]), *roles} <= parts:
            yield f"{at}: the name of {resource.name} is not made of scope, principal and role"


def _secrets(file: Bicep, infra: Infra) -> Problems:
    for function, node in calls(file.root):
        if function.startswith("list"):
            endpoint = values_of("endpointUrl", infra.events.root)
            if file is not infra.events or not any(text(node) in text(each) for each in endpoint):
                yield f"{file.at(node)}: {function} reads a secret"
    for node in walk(file.root):
        if node.type in ("member_expression", "property_identifier") and re.search(
            r"(?i)(connectionstring|instrumentationkey|accesskey|password)$", text(node)
        ):
            owner = node.parent if node.type == "property_identifier" else node
            if owner is None or text(owner) != "applicationInsights.properties.ConnectionString":
                yield f"{file.at(node)}: {text(node)} is a secret"
        if node.type == "string_content" and re.search(
            r"(?i)accountkey=|sharedaccess|sig=|endpointsprotocol=|[a-z0-9+/]{43}=|[a-z0-9+/]{86}==",
            text(node),
        ):
            yield f"{file.at(node)}: this looks like a secret"


def _locks(file: Bicep) -> Problems:
    for resource in file.all("resource").values():
        for key, wanted in LOCKED.get(resource.target.split("@")[0], {}).items():
            given = [text(each) for each in values_of(key, resource.node)]
            if not resource.existing and given != [wanted]:
                yield f"{file.at(resource.node)}: {resource.name} needs {key}: {wanted}"


def _abroad(infra: Infra) -> Problems:
    for module in infra.main.all("module").values():
        for resource in infra.files[module.target].all("resource").values() if "scope" in module.body else ():
            if not resource.existing and resource.target.split("@")[0] not in ABROAD:
                yield f"{module.target}: {resource.name} changes what is not ours"


def _next_step(infra: Infra) -> Problems:
    """The third command, as main.bicep puts it out."""
    command = infra.main.all("output")["eventsCommand"].value
    assert command is not None
    for problem in commands(text(command), infra):
        yield f"{infra.main.at(command)}: {problem}"


def commands(source: str, infra: Infra) -> Problems:
    """`az deployment group create` in a text: the template's parameters, and all that it needs."""
    for found in re.finditer(
        r"--template-file infra/(\S+)\s(?:\\\s+)?--parameters ((?:\\\n|[^\n`])+)", source
    ):
        parameters = infra.files[found[1]].all("param")
        given = set(re.findall(r"(?:^|\s)(\w+)=", found[2]))
        needed = {name for name, each in parameters.items() if each.value is None}
        for name in sorted(given - parameters.keys()):
            yield f"{found[1]} has no parameter {name}"
        for name in sorted(needed - given):
            yield f"{found[1]} needs {name}"


def values_of(name: str, node: Any) -> list[Any]:
    """The values of all properties of that name, however deep."""
    found = [properties(each) for each in walk(node) if each.type == "object"]
    return [each[name] for each in found if name in each]


def _app_settings(infra: Infra) -> dict[str, Any]:
    app = properties(infra.main.all("resource")["functionApp"].body["properties"])
    pairs = [properties(item) for item in items(properties(app["siteConfig"])["appSettings"])]
    return {literal(pair["name"]) or "": pair["value"] for pair in pairs}


class _Asked(dict[str, str]):
    """An environment that remembers what was asked for."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.names: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.names.add(key)
        return super().get(key, default)


def _settings(infra: Infra) -> Problems:
    given = _app_settings(infra)
    defaults = infra.main.all("param")
    values = _Asked()
    for name, node in given.items():
        parameter = defaults.get(text(node))
        value = parameter.value if parameter else node
        values[name] = (literal(value) if value is not None else None) or "https://service.example/"
    try:
        set_up = read_settings(values)
    except BadSettings as error:
        yield f"main.bicep: {error}"
        return
    # A connection string is for the emulator.
    read_by_us = values.names - {"FLOW_LOGS", "RESULTS"}
    for name in sorted(read_by_us - given.keys()):
        yield f"main.bicep: setting {name} is read and not set"
    for name in sorted(given.keys() - read_by_us - OF_HOST):
        yield f"main.bicep: setting {name} is set and not read"
    for name in sorted(OF_HOST - given.keys()):
        yield f"main.bicep: setting {name}, which the host reads, is not set"
    connections = {name: value for name, value in values.items() if not name.startswith("FLOWTALLY_")}
    if set_up != read_settings(connections):
        yield "main.bicep: its defaults are not those of settings.py"


def blob_functions(source: str) -> dict[str, str]:
    """The blob functions of function_app.py: name and container."""
    found = {}
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef):
            continue
        decorators = {
            each.func.attr: each
            for each in node.decorator_list
            if isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute)
        }
        if "blob_trigger" in decorators:
            name = ast.literal_eval(decorators["function_name"].args[0])
            path = next(each.value for each in decorators["blob_trigger"].keywords if each.arg == "path")
            kind = re.search(r"CONTAINERS\['(\w+)'\]", ast.unparse(path))
            assert kind is not None, ast.unparse(path)
            found[name] = CONTAINERS[cast("Kind", kind[1])]
    return found


def _functions(infra: Infra) -> Problems:
    source = Path(__file__).parents[1] / "function_app.py"
    wanted = blob_functions(source.read_text(encoding="utf-8"))
    listed = infra.events.all("var")["sources"].value
    assert listed is not None
    rows = [properties(item) for item in items(listed)]
    given = {literal(row["functionName"]): literal(row["container"]) for row in rows}
    if given != wanted:
        yield f"events.bicep: subscribes {given}; function_app.py has {wanted}"


def _tables_and_containers(infra: Infra) -> Problems:
    shared = Path(__file__).parents[1] / "shared"
    made: dict[str, set[str]] = defaultdict(set)
    for module in infra.main.all("module").values():
        if module.target == "modules/storage.bicep":
            arguments = properties(module.body["params"])
            for key in ("tableNames", "containerNames", "expiringContainer"):
                value = arguments.get(key)
                if value is not None:
                    made[f"{module.name} {key}"] = {
                        literal(item) or "" for item in (items(value) if value.type == "array" else [value])
                    }
    tables = {
        name
        for path in shared.rglob("*.py")
        for name in re.findall(r"\.table\(\s*\"(\w+)\"", path.read_text(encoding="utf-8"))
    }
    if made["results tableNames"] != tables:
        yield f"main.bicep: makes tables {made['results tableNames']}; the code uses {tables}"
    dead_letters = {literal(each) for each in values_of("blobContainerName", infra.events.root)}
    if not dead_letters == made["results containerNames"] == made["results expiringContainer"]:
        yield f"events.bicep: dead letters go to {dead_letters}; main.bicep makes another container"
    package = text(values_of("value", infra.main.root)[-1])
    if package != "'${host.outputs.blobServiceUri}" + "".join(made["host containerNames"]) + "'":
        yield f"main.bicep: the package is in {package}, which is not made"
