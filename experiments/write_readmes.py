"""Write the README of every folder of recipes from its ``recipes.yaml``: ``python -m experiments.write_readmes``."""

from pathlib import Path

from data_modules.io.atomic import write_whole
from lightning_petl.papers.page import readme
from lightning_petl.papers.sheet import read_sheet

HERE = Path(__file__).parent


def main() -> None:
    for sheet in sorted(HERE.glob("*/recipes.yaml")):
        page = sheet.parent / "README.md"
        text = readme(sheet.parent.name, read_sheet(sheet))
        write_whole(page, text.encode())
        print(f"written to {page}")


if __name__ == "__main__":
    main()
