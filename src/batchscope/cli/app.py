"""The command itself, to which each module adds its verbs."""

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Which batch size to use for this model, this data and this hardware.\n\n"
    "Begin with: batchscope recommend digits-cnn",
)
