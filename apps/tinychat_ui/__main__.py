"""`tinychat-ui`: flags first, so that `--help` never waits for gradio."""

import argparse
import os
from pathlib import Path

from tinychat.runs import default_checkpoints


def main() -> None:
    """Serve the page on this machine until interrupted."""
    parser = argparse.ArgumentParser(
        prog="tinychat-ui",
        description="Chat with your models in the browser. In this version the page lists your "
        "runs and says how to talk to them in the terminal; the chat itself is not built yet.",
    )
    parser.add_argument("--checkpoints", type=Path, default=None, help="folder where runs live")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=7860, help="port to listen on (%(default)s)")
    given = parser.parse_args()
    # gradio reads these while it is imported: without them it calls out to its makers
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_OFFLINE"] = "1"

    from tinychat_ui.page import build_page

    if not 0 < given.port < 65536:
        parser.error(f"--port {given.port}: a port is a number from 1 to 65535")
    page = build_page(given.checkpoints or default_checkpoints())
    print(f"tinychat-ui: http://{given.host}:{given.port} (Ctrl+C ends it)", flush=True)
    try:
        page.launch(
            server_name=given.host,
            server_port=given.port,
            share=False,
            quiet=True,
            ssr_mode=False,
            footer_links=[],
        )
    except OSError:
        parser.error(f"{given.host}:{given.port} cannot be used; name another --port")


if __name__ == "__main__":
    main()
