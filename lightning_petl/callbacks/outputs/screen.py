"""Print tables on a screen that may show a progress bar."""

from rich.console import Console, RenderableType


def show(table: RenderableType) -> None:
    """Print a table above the progress bar, if there is one.

    Rich would write it into the line of the bar; Lightning's bar redirects ``print`` above itself.
    """
    console = Console()
    with console.capture() as captured:
        console.print(table)
    print(captured.get(), end="", flush=True)
