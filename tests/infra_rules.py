"""What must hold of infra/, each rule a function that yields what is wrong, with its place.

`make bicep` compiles infra/ where there is a compiler. `of_bicep` is what would let a first deployment fail
unseen without one, and is cheap: names resolve, resources have the properties that Microsoft defines for
them, modules and parameter files fit what they name. Kinds of values, functions, and what is known when are
left to the compiler. `of_project` is what only this project knows: settings, functions, tables, roles,
secrets.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from shared.errors import BadSettings
from shared.settings import read_settings
from tests.azure_types import Definition
from tests.bicep import (
    Bicep,
    Declaration,
    bare,
    calls,
    items,
    literal,
    local_names,
    names,
    properties,
    read,
    text,
    walk,
)

ROOT = Path(__file__).parents[1]

# Bicep's own properties of a resource; Microsoft's definitions don't hold them.
OF_BICEP = {"dependsOn", "parent", "scope"}

# The API versions that Bicep 0.49.2 compiled without a warning, by the longest beginning of a type's name.
# Where azmcp knows an older one only, properties are held against that. Change one only with `make bicep`.
VERSIONS = {
    "Microsoft.Authorization": "2022-04-01",
    "Microsoft.EventGrid": "2025-02-15",
    "Microsoft.Insights/actionGroups": "2023-01-01",
    "Microsoft.Insights/components": "2020-02-02",
    "Microsoft.Insights/scheduledQueryRules": "2026-03-01",
    "Microsoft.Insights/workbooks": "2023-06-01",
    "Microsoft.ManagedIdentity": "2024-11-30",
    "Microsoft.Network": "2025-05-01",
    "Microsoft.Network/privateDnsZones": "2024-06-01",
    "Microsoft.OperationalInsights": "2025-07-01",
    "Microsoft.Storage": "2025-06-01",
    "Microsoft.Web": "2025-03-01",
}

# Its type has no location, but some deployments fail without one.
PUBLISHING_POLICY = "Microsoft.Web/sites/basicPublishingCredentialsPolicies"

# The rules in bicepconfig.json: the compiler ends with success where one of them is a warning only.
LINTER_RULES = 11

# Types that azmcp names and lacks the definitions of: their properties are left to the compiler.
UNDEFINED = {
    "Microsoft.Insights/actionGroups",
    "Microsoft.Insights/scheduledQueryRules",
    "Microsoft.Network/privateDnsZones",
    "Microsoft.Network/privateDnsZones/virtualNetworkLinks",
}

MODES = ("events", "schedule")

# Prints the functions of function_app.py, each with its trigger.
LIST_FUNCTIONS = """
import json
from function_app import app
triggers = {each.get_function_name(): each.get_trigger().get_dict_repr() for each in app.get_functions()}
print(json.dumps(triggers, default=str))
"""

# Accounts to work settings and functions out for, whose names and number are the user's.
ACCOUNTS = ("stflowlogsweu", "stflowlogseus2")

# Values for the parameters that are empty by default: what is empty is not set.
GIVEN = {
    "keep": "400d",
    "rollupSchedule": "30 */5 * * * *",
    "sweepSchedule": "0 */5 * * * *",
    "sweepSince": "7d",
}

# Settings that the host reads, not our code: what each is for stands beside it in main.bicep. With blob
# triggers it reads a queue service for each account, too.
OF_HOST = {
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
    "AzureWebJobsStorage__blobServiceUri",
    "AzureWebJobsStorage__clientId",
    "AzureWebJobsStorage__credential",
    "AzureWebJobsStorage__queueServiceUri",
    "AzureWebJobsStorage__tableServiceUri",
}

# Read by us and not set: it is for while somebody looks for a fault, and the next deployment takes it away.
BY_HAND = {"FLOWTALLY_UPDATE_LINES"}

# https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
ROLES = {
    "blobDataContributor": "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
    "blobDataOwner": "b7e6dc6d-f1e8-4753-8033-0f276bb0955b",
    "blobDataReader": "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1",
    "metricsPublisher": "3913510d-42f4-4e42-8a64-420c390055eb",
    "queueDataContributor": "974c5e8b-45b9-4653-ba55-5f855dd0fb88",
    "tableDataContributor": "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3",
    "tableDataReader": "76199698-9eea-4c19-bc75-cec21354c6b6",
}

# Who gets a role: by what its assignment is named, which `what-if` must know beforehand; its object id; what
# it is ("None" for users and groups: which of the two is not known).
HOLDERS = {
    ("appId", "appPrincipalId", "'ServicePrincipal'"),
    ("topicId", "topicPrincipalIds[i]", "'ServicePrincipal'"),
    ("reader", "reader", "None"),
    ("backfiller", "backfiller", "None"),
}

# What must be so, whatever checkov insists on.
LOCKED = {
    "Microsoft.Insights/components": {"DisableLocalAuth": "true"},
    "Microsoft.OperationalInsights/workspaces": {"disableLocalAuth": "true"},
    "Microsoft.Storage/storageAccounts": {
        "allowBlobPublicAccess": "false",
        "allowCrossTenantReplication": "false",
        "allowSharedKeyAccess": "false",
        "defaultAction": "privateOnly ? 'Deny' : 'Allow'",
        "minimumTlsVersion": "'TLS1_2'",
        "supportsHttpsTrafficOnly": "true",
    },
    "Microsoft.Storage/storageAccounts/blobServices/containers": {"publicAccess": "'None'"},
    "Microsoft.Web/sites": {"httpsOnly": "true", "minTlsVersion": "'1.2'", "scmMinTlsVersion": "'1.2'"},
    PUBLISHING_POLICY: {"allow": "false"},
}

# What may be made in somebody else's resource group.
ABROAD = {"Microsoft.Authorization/roleAssignments", "Microsoft.EventGrid/systemTopics"}

# Names and ids that are worked out, not asked of what makes them: without `dependsOn` Azure makes both at
# once, and the compiler says nothing.
WORKED_OUT = {
    "main.bicep": {"hostAccountName": "host", "resultsAccountName": "results"},
    "modules/network.bicep": {"networkId": "virtualNetwork"},
}

# Parameters of main.bicep that have an effect only beside others: main.bicep refuses them elsewhere.
CONDITIONAL = {
    "alertEmails",
    "deployerBackfills",
    "endpointsSubnetId",
    "flowLogBlobRole",
    "endpointsSubnetPrefix",
    "flowLogPrivateEndpoints",
    "functionsSubnetId",
    "functionsSubnetPrefix",
    "privateDnsZoneIds",
    "rollupSchedule",
    "telemetryDailyCapGb",
    "telemetryRetentionDays",
}

type Problems = Iterator[str]


@dataclass(frozen=True)
class Infra:
    """The folder: its files by their path in it, and the definitions of the resource types they use."""

    folder: Path
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


def read_infra(folder: Path, types: Callable[[Iterable[str]], dict[str, Definition]]) -> Infra:
    """Read all files of a folder; ``types`` looks resource types up."""
    files = {
        str(path.relative_to(folder)): read(path)
        for path in sorted(folder.rglob("*.bicep*"))
        if path.suffix in (".bicep", ".bicepparam")
    }
    wanted = {
        resource.target.split("@")[0] for file in files.values() for resource in file.all("resource").values()
    }
    return Infra(folder, files, types(wanted))


def of_bicep(infra: Infra) -> Problems:
    """What would let a first deployment fail."""
    mistakes = [mistake for file in infra.files.values() for mistake in file.mistakes]
    if mistakes:
        yield from mistakes
        return
    for file in infra.templates:
        yield from _names(file)
        yield from _files(file)
        yield from _resources(file, infra)
        yield from _outputs_of_modules(file)
        yield from _modules(file)
    for name, file in infra.files.items():
        if name.endswith(".bicepparam"):
            yield from _parameter_file(file)


def of_project(infra: Infra) -> Problems:
    """What only this project knows."""
    for file in infra.templates:
        yield from _roles(file)
        yield from _secrets(file, infra)
        yield from _locks(file)
        yield from _publishing_policies(file)
        yield from _record_types(file)
    yield from _abroad(infra)
    yield from _order(infra)
    yield from _conditional(infra)
    yield from _outputs(infra)
    settings = [*_settings(infra)]
    yield from settings
    if not settings:  # with wrong ones the app doesn't start
        yield from _defaults(infra)
        yield from _export_command(infra)
        yield from _functions(infra)
        yield from _queues(infra)
    yield from _tables_and_containers(infra)
    yield from _azd(infra)
    yield from _linter(infra)


# --- what would let a first deployment fail


def _names(file: Bicep) -> Problems:
    declared = {each.name for each in file.declarations if each.kind != "output"}
    for each in file.declarations:
        inside = [part for part in (each.value, *each.decorators.values()) if part is not None]
        local = local_names(each.node)
        for node in (*each.type_names, *(name for part in inside for name in names(part))):
            if text(node) not in declared | local:
                yield f"{file.at(node)}: {text(node)} is nothing that is declared"


def _files(file: Bicep) -> Problems:
    """What is imported, and what is loaded."""
    for each in (each for each in file.declarations if each.kind == "import"):
        path = file.path.parent / each.target
        exported = read(path).all("type") if path.is_file() else {}
        if each.name not in exported or "export" not in exported[each.name].decorators:
            yield f"{file.at(each.node)}: {each.target} exports no {each.name}"
    for name in re.findall(r"\bload\w+\('(.*?)'", text(file.root)):
        if not (file.path.parent / name).is_file():
            yield f"{file.path.name}: there is no {name}"


def _resources(file: Bicep, infra: Infra) -> Problems:
    for resource in file.all("resource").values():
        name, _, version = resource.target.partition("@")
        wanted = VERSIONS[max((each for each in VERSIONS if name.startswith(each)), key=len)]
        if version != wanted:
            yield f"{file.at(resource.node)}: {name} is of {version}; the compiler took {wanted}"
        if name not in infra.types.keys() | UNDEFINED:
            yield f"{file.at(resource.node)}: Microsoft defines no {name}"
        elif name in infra.types and not resource.existing:
            beyond = OF_BICEP | ({"location"} if name == PUBLISHING_POLICY else set())
            own = {key: node for key, node in resource.body.items() if key not in beyond}
            types = _Types(file, infra.types[name])
            yield from types.object(own, infra.types[name][""]["bodyType"], resource.node, resource.name)


@dataclass(frozen=True)
class _Types:
    """Holds the names of a resource's properties against its type's definition."""

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
        """A value against a type, as far as there are properties in it."""
        if node.type in ("parenthesized_expression", "ternary_expression"):
            for branch in node.named_children[node.type == "ternary_expression" :]:
                yield from self.value(branch, wanted, where)
        elif node.type in ("array", "for_statement"):
            for item in items(node):
                yield from self.value(item, wanted.removesuffix("[]"), f"{where}[]")
        elif node.type == "object" and wanted in self.definition:
            yield from self.object(properties(node), self.definition[wanted], node, where)


def _property(definition: dict[str, Any], name: str) -> dict[str, Any]:
    return next(each for each in definition["properties"] if each["name"] == name)


def _outputs_of_modules(file: Bicep) -> Problems:
    modules = file.all("module")
    for node in names(file.root):
        path = _path(node)
        if path and text(node) in modules and _module_path(file, modules[text(node)]).is_file():
            outputs = read(_module_path(file, modules[text(node)])).all("output")
            if path[0] != "outputs" or path[1] not in outputs:
                yield f"{file.at(node)}: module {text(node)} has no {'.'.join(path)}"


def _path(node: Any) -> list[str]:
    """The members that are asked of a name: of ``a`` in ``a.b[0]!.c`` these are ``b`` and ``c``."""
    path = []
    parent = node.parent
    while parent is not None and parent.children[0] == node:
        if parent.type == "member_expression":
            path.append(text(parent.children[-1]))
        elif parent.type != "subscript_expression":
            break
        node, parent = parent, parent.parent
    return path


def _module_path(file: Bicep, module: Declaration) -> Path:
    return file.path.parent / module.target


def _modules(file: Bicep) -> Problems:
    for module in file.all("module").values():
        path = _module_path(file, module)
        if not path.is_file():
            yield f"{file.at(module.node)}: there is no {module.target}"
            continue
        for key in module.body.keys() - OF_BICEP - {"params"}:
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
    for name in given.keys() - parameters.keys():
        yield f"{file.at(given[name])}: {template.path.name} has no parameter {name}"
    for name, parameter in parameters.items():
        if parameter.value is None and name not in given:
            yield f"{file.at(node)}: {template.path.name} needs {name}"


# --- what only this project knows


def _roles(file: Bicep) -> Problems:
    variables = file.all("var")
    for variable in variables.values():
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
        role = text([*names(given["roleDefinitionId"])][-1]) if [*names(given["roleDefinitionId"])] else ""
        chosen = variables[role].value if role in variables and role not in ROLES else None
        choices = {text(each) for each in chosen.named_children[1:]} if chosen else {role}
        if not choices <= ROLES.keys():
            yield f"{at}: {resource.name} assigns a role that is not known"
        # By its name a second deployment finds the first one's assignment: the recipe never changes.
        scope, principal = text(resource.body["scope"]), text(given["principalId"])
        kind = text(given["principalType"]) if "principalType" in given else "None"
        known = {who for who, *what in HOLDERS if what == [principal, kind]}
        if text(resource.body["name"]) not in {f"guid({scope}.id, {who}, {role})" for who in known}:
            yield f"{at}: the name of {resource.name} is not made of scope, holder and role as before"


def _secrets(file: Bicep, infra: Infra) -> Problems:
    endpoints = [call for url in values_of("endpointUrl", infra.events.root) for call in calls(url)]
    for call in calls(file.root):
        if text(call).startswith("list") and call not in endpoints:
            yield f"{file.at(call)}: {text(call)} reads a secret"
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


def _record_types(file: Bicep) -> Problems:
    """What isn't logged can't be counted."""
    for node in walk(file.root):
        if node.type == "object" and "recordTypes" in properties(node):
            yield f"{file.at(node)}: recordTypes leaves something out of the flow logs"


def _publishing_policies(file: Bicep) -> Problems:
    for resource in file.all("resource").values():
        if resource.target.startswith(PUBLISHING_POLICY) and not re.search(
            r"\n *#disable-next-line BCP187\n *location: location\n", text(resource.node)
        ):
            yield f"{file.at(resource.node)}: {resource.name} needs location, with BCP187 off directly above"


def _abroad(infra: Infra) -> Problems:
    for module in infra.main.all("module").values():
        for resource in infra.files[module.target].all("resource").values() if "scope" in module.body else ():
            if not resource.existing and resource.target.split("@")[0] not in ABROAD:
                yield f"{module.target}: {resource.name} changes what is not ours"


def _used(file: Bicep, node: Any) -> set[str]:
    """The names that a node uses, also by way of variables."""
    used: set[str] = set()
    for name in {text(each) for each in names(node)}:
        variable = file.all("var").get(name)
        used |= {name} | (_used(file, variable.value) if variable and variable.value else set())
    return used


def _order(infra: Infra) -> Problems:
    for path, makers in WORKED_OUT.items():
        file = infra.files[path]
        for each in (*file.all("module").values(), *file.all("resource").values()):
            used = _used(file, each.value)
            for name, maker in makers.items():
                if each.name != maker and name in used and maker not in used:
                    yield f"{file.at(each.node)}: {each.name} uses {name}, and has to wait for {maker}"


def _conditional(infra: Infra) -> Problems:
    main = infra.main
    refused: set[str] = set()
    for each in walk(main.all("var")["mistakes"].node):
        if each.type == "ternary_expression":
            condition, message, _ = each.named_children
            said = {*re.findall(r"\b[a-z]+[A-Z]\w+", text(message))}
            if not said <= _used(main, condition):
                yield f"{main.at(each)}: says something of {sorted(said)}, and asks for something else"
            refused |= said
    for name in sorted(CONDITIONAL - refused):
        yield f"main.bicep: {name} is not refused where it has no effect"
    refuses = "fail(join(mistakes" in text(main.all("var")["isValid"].node)
    if not refuses or "isValid" not in text(main.all("var")["functionAppName"].node):
        yield "main.bicep: mistakes don't stop the deployment"


def _outputs(infra: Infra) -> Problems:
    """What the scripts and the pages ask of main.bicep, and hand to events.bicep."""
    outputs = infra.main.all("output")
    needed = {each.name for each in outputs.values() if each.description.startswith("What events.sh needs")}
    handed = {name for name, each in infra.events.all("param").items() if each.value is None}
    paths = [infra.folder / "events.sh", infra.folder / "events.ps1", infra.folder.parent / "docs/deploy.md"]
    for path in paths:
        source = path.read_text(encoding="utf-8")
        asked = re.findall(r"(?:properties\.outputs\.|\$\(outputs |read_output |Read-Output )(\w+)", source)
        for name in sorted({*asked} - outputs.keys()):
            yield f"{path.name}: main.bicep has no output {name}"
        for name in sorted(needed | handed if path.suffix != ".md" else ()):
            if not re.search(rf"\b{name}\b", source):
                yield f"{path.name}: doesn't know {name}"


def values_of(name: str, node: Any) -> list[Any]:
    """The values of all properties of that name, however deep."""
    found = [properties(each) for each in walk(node) if each.type == "object"]
    return [each[name] for each in found if name in each]


def _put_in(node: Any, values: Mapping[str, str]) -> str:
    """A string with the values of the expressions in it; an expression without a value stays as it is."""
    return re.sub(r"\$\{(.*?)\}", lambda found: values.get(found[1], found[0]), text(node)[1:-1])


def _connection(infra: Infra, account: str) -> str:
    """What the settings of an account begin with."""
    value = infra.main.all("var")["connections"].value
    assert value is not None
    return _put_in(bare(value), {"toUpper(account.name)": account.upper()})


def _app_settings(infra: Infra, mode: str) -> dict[str, Any]:
    """The app's settings with the two accounts: name, and the expression of the value."""
    values = {name: each.value for name, each in infra.main.all("var").items() if each.value is not None}
    app = properties(infra.main.all("resource")["functionApp"].body["properties"])
    settings: dict[str, Any] = {}
    for name in names(properties(app["siteConfig"])["appSettings"]):
        value = values[text(name)]
        if value.type == "ternary_expression":  # bySchedule ? [] : …
            value = value.named_children[1 if mode == "schedule" else 2]
        accounts = ACCOUNTS if "accounts" in {text(each) for each in names(value)} else ACCOUNTS[:1]
        objects = [properties(each) for each in walk(value) if each.type == "object"]
        pairs = [each for each in objects if each.keys() == {"name", "value"}]
        for account in accounts:
            given = {"connections[i]": _connection(infra, account)}
            settings |= {_put_in(pair["name"], given): pair["value"] for pair in pairs}
    return settings


class _Asked(dict[str, str]):
    """An environment that remembers what was asked for."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.names: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.names.add(key)
        return super().get(key, default)


def _environment(infra: Infra, mode: str) -> _Asked:
    """The app's environment with the two accounts and with everything given."""
    parameters = infra.main.all("param")
    values = _Asked()
    for name, node in _app_settings(infra, mode).items():
        parameter = parameters.get(text(node))
        if parameter and parameter.name != "mode":
            values[name] = GIVEN[parameter.name]
        else:
            account = next((each for each in ACCOUNTS if each.upper() in name), "service")
            values[name] = (mode if parameter else literal(node)) or f"https://{account}.example/"
    return values


def _settings(infra: Infra) -> Problems:
    for mode in MODES:
        values = _environment(infra, mode)
        try:
            set_up = read_settings(values)
        except BadSettings as error:
            yield f"main.bicep: {error}"
            return
        wanted = {f"FLOW_LOGS_{name.upper()}" for name in ACCOUNTS}
        if {each.name for each in set_up.flow_logs} != wanted:
            yield f"main.bicep: its connections aren't {', '.join(sorted(wanted))}"
        # A connection string is for the emulator.
        read_by_us = values.names - wanted - {"RESULTS"} - BY_HAND
        of_host = OF_HOST | ({f"{name}__queueServiceUri" for name in wanted} if mode == "events" else set())
        for name in sorted(read_by_us - values.keys()):
            yield f"main.bicep: setting {name} is read and not set"
        for name in sorted(values.keys() - read_by_us - of_host):
            yield f"main.bicep: setting {name} is set and not read with mode={mode}"
        for name in sorted(of_host - values.keys()):
            yield f"main.bicep: setting {name}, which the host reads, is not set"


def _defaults(infra: Infra) -> Problems:
    parameters = infra.main.all("param")
    for name in GIVEN:
        default = parameters[name].value
        if default is None or literal(default) != "":
            yield f"main.bicep: the default of {name} is not the app's own"
    chosen, allowed = parameters["mode"].value, parameters["mode"].decorators["allowed"]
    if chosen is None or literal(chosen) != read_settings(_without_mode(_environment(infra, "events"))).mode:
        yield "main.bicep: the default of mode is not that of settings.py"
    if tuple(literal(item) for each in allowed.named_children for item in items(each)) != MODES:
        yield f"main.bicep: mode must be one of {', '.join(MODES)}"


def _without_mode(values: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in values.items() if name != "FLOWTALLY_MODE"}


def _export_command(infra: Infra) -> Problems:
    """The command line gets the settings of the app, but for its identity: that is whoever is signed in."""
    output = infra.main.all("output").get("exportCommand")
    if output is None:
        yield "main.bicep: has no output exportCommand"
        return
    names = {
        name.replace("${connections[i]}", _connection(infra, account))
        for name in re.findall(r"([\w${}\[\]]+)=\$\{", text(output.node))
        for account in ACCOUNTS
    }
    values = _environment(infra, "schedule")
    try:
        given = read_settings({name: values.get(name, "") for name in names})
    except BadSettings as error:
        yield f"main.bicep: exportCommand: {error}"
        return
    of_app = read_settings(values)
    if [each.service_uri for each in given.flow_logs] != [each.service_uri for each in of_app.flow_logs]:
        yield "main.bicep: exportCommand has other flow logs than the app"
    if given.mode != of_app.mode:
        yield "main.bicep: exportCommand has another mode than the app"


@cache
def registered(environment: tuple[tuple[str, str], ...]) -> dict[str, dict[str, Any]]:
    """The functions that function_app.py registers in this environment, each with its trigger."""
    done = subprocess.run(
        [sys.executable, "-c", LIST_FUNCTIONS],
        env=dict(environment) | {"PATH": "", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return found


def registered_with(infra: Infra, mode: str) -> dict[str, dict[str, Any]]:
    """The functions that the app registers as infra/ sets it up with the two accounts."""
    return registered(tuple(sorted(_environment(infra, mode).items())))


def _functions(infra: Infra) -> Problems:
    listed = infra.events.all("var")["sources"].value
    assert listed is not None
    rows = [properties(item) for item in items(listed)]
    subscribed = {
        _put_in(row["functionName"], {"toLower(flowLogAccountName)": account}): (
            f"FLOW_LOGS_{account.upper()}",
            literal(row["container"]),
        )
        for row in rows
        for account in ACCOUNTS
    }
    for mode in MODES:
        triggers = {
            name: (trigger["connection"], trigger["path"].removesuffix("/{name}"))
            for name, trigger in registered_with(infra, mode).items()
            if trigger["type"] == "blobTrigger"
        }
        wanted = subscribed if mode == "events" else {}
        if triggers != wanted:
            yield f"events.bicep: subscribes {wanted} with mode={mode}; function_app.py has {triggers}"


def _queues(infra: Infra) -> Problems:
    made = _made(infra)["host queueNames"]
    for mode in MODES:
        triggers = registered_with(infra, mode).values()
        awaited = {each["queueName"] for each in triggers if each["type"] == "queueTrigger"}
        if made != awaited:
            yield f"main.bicep: makes queues {made}; with mode={mode} the app waits for {awaited}"


def _made(infra: Infra) -> dict[str, set[str]]:
    """What the storage accounts are made with: account and parameter, and the values."""
    made = {}
    for module in infra.main.all("module").values():
        if module.target == "modules/storage.bicep":
            for key, value in properties(module.body["params"]).items():
                named = items(value) if value.type == "array" else [value]
                made[f"{module.name} {key}"] = {literal(item) or "" for item in named}
    return made


def _tables_and_containers(infra: Infra) -> Problems:
    made = _made(infra)
    tables = {
        name
        for path in (ROOT / "shared").rglob("*.py")
        for name in re.findall(r"\.table\(\s*\"(\w+)\"", path.read_text(encoding="utf-8"))
    }
    if made["results tableNames"] != tables:
        yield f"main.bicep: makes tables {made['results tableNames']}; the code uses {tables}"
    dead_letters = {literal(each) for each in values_of("blobContainerName", infra.events.root)}
    if not dead_letters == made["results containerNames"] == made["results expiringContainer"]:
        yield f"events.bicep: dead letters go to {dead_letters}; main.bicep makes another container"
    roles = infra.files["modules/roles.bicep"]
    container = text(roles.all("resource")["deadLetters"].body["name"])
    if container != "'${resultsAccountName}/default/" + "".join(made["results containerNames"]) + "'":
        yield f"modules/roles.bicep: Event Grid may write to {container}; main.bicep makes another container"
    package = text(values_of("value", infra.main.root)[-1])
    if package != "'${host.outputs.blobServiceUri}" + "".join(made["host containerNames"]) + "'":
        yield f"main.bicep: the package is in {package}, which is not made"


def _azd(infra: Infra) -> Problems:
    source = (infra.folder.parent / "azure.yaml").read_text(encoding="utf-8")
    service = re.search(r"^services:\n  (\w+):", source, flags=re.MULTILINE)
    tags = [literal(each) for each in values_of("azd-service-name", infra.main.root)]
    if service is None or tags != [service[1]]:
        yield f"azure.yaml: its service is another than that of the tag azd-service-name, {tags}"
    for name in re.findall(r"^ +run: (\S+)", source, flags=re.MULTILINE):
        if not (infra.folder.parent / name).is_file():
            yield f"azure.yaml: there is no {name}"


def _linter(infra: Infra) -> Problems:
    settings = json.loads((infra.folder / "bicepconfig.json").read_bytes())["analyzers"]["core"]
    levels = [rule["level"] for rule in settings["rules"].values()]
    if not settings["enabled"] or levels != ["error"] * LINTER_RULES:
        yield f"bicepconfig.json: {LINTER_RULES} rules must be errors"
