"""Tables on the screen, which may show a progress bar."""

from rich.console import Console, RenderableType


def show(table: RenderableType) -> None:
    """Print a table above the progress bar, if there is one; a console of its own would write into the bar's line."""
    console = Console()
    with console.capture() as captured:
        console.print(table)
    print(captured.get(), end="", flush=True)
