"""What verbs share: groups that answer a mistake with the choices, and checks of names."""

from typing import Any

import typer
from typer.core import TyperGroup

from core.contracts import FRAMEWORKS, RECIPES
from core.data import kept
from core.errors import UsageError, check_choice, unknown
from core.settings import Workspace


class Verbs(TyperGroup):
    """A group that answers an unknown verb with the known ones."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        command = super().get_command(ctx, cmd_name)
        if command is None and not ctx.resilient_parsing:
            raise unknown("verb", f"{ctx.command_path} {cmd_name}", self.commands)
        return command


def group(help_text: str) -> typer.Typer:
    return typer.Typer(cls=Verbs, help=help_text, no_args_is_help=True, add_completion=False)


def verb_and_group() -> typer.Typer:
    """A group that is a verb itself: its callback, whose docstring is its help."""
    return typer.Typer(cls=Verbs, invoke_without_command=True, add_completion=False)


def refuse_options(context: typer.Context) -> None:
    """Raises UsageError for options between a group and its verb, which would be lost without a word."""
    for one in context.command.params:
        source = context.get_parameter_source(one.name or "")
        if source is not None and source.name == "COMMANDLINE":
            verb = f"{context.command_path} {context.invoked_subcommand}"
            raise UsageError(f"{one.opts[0]} belongs behind the verb: {verb} {one.opts[0]}")


def known(dataset: str) -> str:
    """Raises UsageError for an unknown data set."""
    return kept.check(dataset)


def workspace(dataset: str, order: str | None, as_of: str) -> Workspace:
    """The workspace; no order takes the data set's own.

    Raises:
        UsageError: for an unknown data set, order or day.
    """
    return Workspace(known(dataset), order or kept.default_order(dataset), as_of)


def check_names(*, recipe: str | None = None, framework: str | None = None) -> None:
    """Raises UsageError for an unknown name, before anything heavy is loaded."""
    if recipe is not None:
        check_choice("recipe", recipe, RECIPES)
    if framework is not None:
        check_choice("framework", framework, FRAMEWORKS)
