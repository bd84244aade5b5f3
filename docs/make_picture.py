"""Draw docs/images/demo.svg: what `tinychat demo` really prints once the demo is trained.

python docs/make_picture.py
"""

import io
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

TARGET = Path(__file__).parent / "images" / "demo.svg"
WIDTH = 92


def main() -> None:
    """Run the demo's talk and keep the screen as a picture."""
    command = [sys.executable, "-m", "tinychat", "demo"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    console.print(Text("$ tinychat demo", style="bold"))
    for line in printed.strip("\n").splitlines():
        style = "bright_cyan" if line.startswith("  tinychat  ") else ""
        console.print(Text(line, style=style))
    svg = console.export_svg(title="tinychat")
    # rich points to fonts on the net; a picture of ours asks nobody for anything
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    TARGET.write_text(svg.replace("Fira Code", "ui-monospace"), encoding="utf-8")


if __name__ == "__main__":
    main()
