#!/usr/bin/env python3
"""Writes the commands of the Azure CLI that our documents may use, with their options, from the CLI itself.

    python3 -m venv judges/.work/az                       # once; azure-cli takes 1 GB and some minutes
    judges/.work/az/bin/pip install azure-cli==2.91.0
    judges/.work/az/bin/python judges/az/table.py         # 20 s; rewrites judges/az/commands.txt

`cargo test --test it az_lines` holds every `az` line of the repository to that table; it needs no CLI.
A line of the table is a command and its options: `*` marks one that must be given, `=a|b` what it takes. An
option's other spellings follow it after commas. Commands of extensions are not in the CLI and so not in the table.
"""

import sys
from importlib.metadata import version
from pathlib import Path

from azure.cli.core import get_default_cli
from azure.cli.core.file_util import create_invoker_and_load_cmds_and_args
from knack.arguments import IgnoreAction

# What somebody who runs Switchyard in Azure asks about.
GROUPS = """
    account list, account list-locations, account set, account show, acr build, acr create, acr import, acr login,
    acr show, ad signed-in-user, batch account, batch job, batch location, batch node, batch pool, batch task,
    consumption budget, containerapp create, containerapp delete, containerapp env create, containerapp env delete,
    containerapp env list-usages, containerapp env show, containerapp env workload-profile, containerapp list,
    containerapp logs show, containerapp replica, containerapp revision list, containerapp show, containerapp
    update, deployment group create, deployment group show, deployment group validate, deployment group what-if,
    deployment sub create, extension add, functionapp config appsettings, functionapp create, functionapp delete,
    functionapp deployment source, functionapp function, functionapp identity, functionapp keys, functionapp
    list-flexconsumption, functionapp restart, functionapp scale, functionapp show, functionapp start, functionapp
    stop, group create, group delete, group exists, group list, group show, identity, keyvault create, keyvault
    delete, keyvault list-deleted, keyvault purge, keyvault recover, keyvault secret, keyvault show, keyvault
    update, login, logout, monitor action-group create, monitor action-group delete, monitor action-group list,
    monitor action-group show, monitor action-group update, monitor activity-log list, monitor log-analytics
    workspace create, monitor log-analytics workspace delete, monitor log-analytics workspace list, monitor
    log-analytics workspace show, monitor metrics alert create, monitor metrics alert delete, monitor metrics alert
    list, monitor metrics alert show, monitor metrics list, provider, resource, role assignment, role definition
    list, storage account create, storage account delete, storage account keys, storage account list, storage
    account management-policy, storage account show, storage account show-connection-string, storage account update,
    storage blob delete, storage blob download, storage blob exists, storage blob list, storage blob show, storage
    blob upload, storage container create, storage container delete, storage container exists, storage container
    list, storage message, storage queue, version, vm list-skus, vm list-usage
"""
TABLE = Path(__file__).with_name("commands.txt")


def spellings(argument):
    options = argument.options_list if hasattr(argument, "options_list") else argument.type.settings["options_list"]
    return [option for option in options if isinstance(option, str) and option.startswith("-")]


def shown(argument):
    settings = argument.type.settings
    names = spellings(argument)
    if not names or settings.get("action") is IgnoreAction:
        return None
    # The long one first, by which people look for it.
    names.sort(key=lambda name: (not name.startswith("--"), name))
    mark = "*" if settings.get("required") else ""
    choices = settings.get("choices")
    # A long list, as that of regions or VM sizes, changes with the day; yes and no have a dozen spellings.
    is_closed = choices and len(choices) <= 12 and "true" not in choices
    values = "=" + "|".join(sorted(map(str, choices))) if is_closed else ""
    return ",".join(names) + mark + values


def main():
    groups = [" ".join(group.split()) for group in GROUPS.split(",")]
    cli = get_default_cli()
    create_invoker_and_load_cmds_and_args(cli)
    commands = cli.invocation.commands_loader.command_table
    lines = []
    for name in sorted(commands):
        if not any(name == group or name.startswith((group + " ", group + "-")) for group in groups):
            continue
        options = sorted(filter(None, map(shown, commands[name].arguments.values())))
        # Every command has them.
        common = ("--subscription", "--change-reference", "--acquire-policy-token")
        options = [option for option in options if not option.startswith(common)]
        lines.append(" ".join([name + ":"] + [option.replace(" ", "\N{OPEN BOX}") for option in options]))
    head = [f"# azure-cli {version('azure-cli')}; written by judges/az/table.py, which says what this is."]
    TABLE.write_text("\n".join(head + lines) + "\n", encoding="utf-8")
    print(f"{len(lines)} commands in {TABLE}", file=sys.stderr)


main()
