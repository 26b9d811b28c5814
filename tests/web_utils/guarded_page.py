"""A page behind the guard, as a program: python -m tests.web_utils.guarded_page TOKEN MAX_UPLOAD

TOKEN may be empty. The program prints its port, and then the sizes of uploaded files.
"""

import socket
import sys

import uvicorn
from fastapi import FastAPI
from nicegui import ui

from web_utils.connections import Connection
from web_utils.guard import SERVER_SETTINGS, Guard


def main(token: str, max_upload_bytes: int) -> None:
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @ui.page("/")
    def show() -> None:
        count = ui.label("0").props("id=count")
        ui.button("More", on_click=lambda: count.set_text(str(int(count.text) + 1))).props(
            "id=more"
        )
        ui.slider(min=0, max=1, step=0.1, value=0.5)
        ui.select(["a", "b"], value="a")
        ui.upload(on_upload=lambda event: print("uploaded", event.file.size(), flush=True))

    ui.run_with(app, show_welcome_message=False)
    guard = Guard(app, token=token or None, max_upload_bytes=max_upload_bytes)
    listening = socket.create_server(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    settings = {**SERVER_SETTINGS, "access_log": True, "log_level": "info"}  # worse than in earnest
    uvicorn.Server(uvicorn.Config(guard, http=Connection, **settings)).run(sockets=[listening])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
