"""cli/app — the tree of commands, and which function each is. Holds no command itself."""

from typing import Annotated

import typer

from agent.cli import (
    chute_call,
    chute_deploy,
    chute_list,
    chutes,
    events,
    gpus,
    host,
    jobs,
    kit,
    local,
    logs,
    opening,
    outputs,
    retrying,
    run,
    schedules,
    ssh,
    top,
)
from agent.cli.exec import SETTINGS, exec_
from agent.cli.exits import NOT_THE_JOBS
from agent.cli.local import local_command
from agent.cli.options import ConfigOption, TokenOption, UrlOption, client_command
from agent.cli.target import Given

WATCH, HOST = "Jobs", "This host"


def group(about: str) -> typer.Typer:
    return typer.Typer(help=about, no_args_is_help=True, add_completion=False, rich_markup_mode=None)


app = typer.Typer(
    help="Runs jobs in containers on GPU hosts, and loses none of them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def print_version(asked: bool) -> None:  # noqa: FBT001 - the parser's signature
    if asked:
        from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - it takes long to import

        try:
            typer.echo(version("gpu-agent"))
        except PackageNotFoundError:  # run from a checkout
            typer.echo("unknown")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    *,
    config: ConfigOption = None,
    url: UrlOption = None,
    token: TokenOption = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Runs jobs in containers on GPU hosts, and loses none of them."""
    ctx.obj = Given(config, url, token)


app.command("run", cls=run.RunCommand, rich_help_panel=WATCH)(client_command(run.run, NOT_THE_JOBS))
app.command("submit", rich_help_panel=WATCH)(client_command(jobs.submit))
app.command("ps", rich_help_panel=WATCH)(client_command(jobs.ps))
app.command("show", rich_help_panel=WATCH)(client_command(jobs.show))
app.command("logs", rich_help_panel=WATCH)(client_command(logs.logs))
app.command("events", rich_help_panel=WATCH)(client_command(events.events))
app.command("stats", rich_help_panel=WATCH)(client_command(top.stats))
app.command("top", rich_help_panel=WATCH)(client_command(top.top))
app.command("exec", context_settings=SETTINGS, rich_help_panel=WATCH)(client_command(exec_, NOT_THE_JOBS))
app.command("ssh", context_settings=ssh.SETTINGS, rich_help_panel=WATCH)(
    client_command(ssh.ssh, NOT_THE_JOBS)
)
app.command("open", rich_help_panel=WATCH)(client_command(opening.open_page))
app.command("stop", rich_help_panel=WATCH)(client_command(jobs.stop))
app.command("rm", rich_help_panel=WATCH)(client_command(jobs.remove))

chute_app = group("Function jobs: chutes, and the jobs in them.")
chute_app.command("deploy")(client_command(chute_deploy.deploy))
chute_app.command("run")(client_command(chutes.run, NOT_THE_JOBS))
chute_app.command("call")(client_command(chute_call.call))
chute_app.command("ls")(client_command(chute_list.ls))
chute_app.command("show")(client_command(chute_list.show))
chute_app.command("rm")(client_command(chute_list.remove))
app.add_typer(chute_app, name="chute", rich_help_panel=WATCH)

schedule_app = group("Jobs that start by the clock.")
schedule_app.command("ls")(client_command(schedules.ls))
schedule_app.command("show")(client_command(schedules.show))
schedule_app.command("add")(client_command(schedules.add))
schedule_app.command("rm")(client_command(schedules.remove))
schedule_app.command("run")(client_command(schedules.run))
schedule_app.command("pause")(client_command(schedules.pause))
schedule_app.command("resume")(client_command(schedules.resume))
app.add_typer(schedule_app, name="schedule", rich_help_panel=WATCH)

outputs_app = group("A job's output files.")
outputs_app.command("ls")(client_command(outputs.ls))
outputs_app.command("get")(client_command(outputs.get))
outputs_app.command("retry")(client_command(retrying.retry))
app.add_typer(outputs_app, name="outputs", rich_help_panel=WATCH)

host_app = group("What the host has.")
host_app.command("show")(client_command(host.show))
app.add_typer(host_app, name="host", rich_help_panel=HOST)

gpus_app = group("The host's GPUs.")
gpus_app.command("ls")(client_command(gpus.ls))
gpus_app.command("show")(client_command(gpus.show))
gpus_app.command("quarantine")(client_command(gpus.quarantine))
gpus_app.command("restore")(client_command(gpus.restore))
gpus_app.command("reset")(client_command(gpus.reset))
app.add_typer(gpus_app, name="gpus", rich_help_panel=HOST)

images_app = group("Images on the host.")
images_app.command("pull")(client_command(host.pull))
app.add_typer(images_app, name="images", rich_help_panel=HOST)

app.command("serve", rich_help_panel=HOST)(local_command(local.serve))
app.command("doctor", rich_help_panel=HOST)(local_command(local.doctor))

kit_app = group("What SSH into jobs runs on.")
kit_app.command("build")(local_command(kit.build))
kit_app.command("check")(local_command(kit.check))
app.add_typer(kit_app, name="kit", rich_help_panel=HOST)
network_app = group("The jobs' network on this host.")
network_app.command("remove")(local_command(local.network_remove))
app.add_typer(network_app, name="network", rich_help_panel=HOST)

token_app = group("Who may use the API, kept in the state folder.")
token_app.command("create")(local_command(local.token_create))
token_app.command("ls")(local_command(local.token_ls))
token_app.command("revoke")(local_command(local.token_revoke))
app.add_typer(token_app, name="token", rich_help_panel=HOST)

config_app = group("The config file.")
config_app.command("check")(local_command(local.config_check))
config_app.command("show")(local_command(local.config_show))
app.add_typer(config_app, name="config", rich_help_panel=HOST)
