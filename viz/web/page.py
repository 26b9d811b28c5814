"""The page of the viewer, made anew for each browser."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from nicegui import Client, background_tasks, events, json, ui

from dnnlib import errors
from dnnlib.errors import InputError
from dnnlib.text import drawable
from gui_utils.inputs import KeyPress, Pointer
from viz.offers import offers
from viz.web.downloads import Downloads
from viz.web.keys import KEPT, KEYS, OF_UPLOADS
from viz.web.served import Served, VisitorFiles
from viz.web.session import Session
from viz.web.uploads import SUFFIXES
from web_utils.elements import Text
from web_utils.overlay import Overlay
from web_utils.panes import Panes
from web_utils.picture import Picture
from web_utils.toolkit import WebToolkit

STYLE = Path(__file__).with_name("page.css")
SCRIPT = Path(__file__).with_name("page.js")
CONNECT_SEC = 60  # time for a browser to show the page
FRAME_SEC = 1 / 60  # least time between frames
# Least time between changes of the panes and the status line: NiceGUI's page then looks through all
# of its elements, and pictures would wait.
PANES_SEC = 0.1
FULL_SEC = 1  # how often a page looks whether another one has gone
LINK_SEC = 2  # least time between links in the address bar while the view changes
THEMES = {None: "brightness_auto", True: "dark_mode", False: "light_mode"}  # icons; None: automatic
INTRODUCTION = "Choose a network, or type its name among the controls."
OF_UPLOADS_TOO = "Choose a network, drop one on this page, or type its name among the controls."
FULL = (
    "{} browsers show this viewer, which is the limit of --max-sessions. This page goes on as soon "
    "as one of them leaves."
)
COPY = (
    "try {{ await navigator.clipboard.writeText({text}); return true; }} catch {{ return false; }}"
)

log = logging.getLogger(__name__)


class Page:
    """One page. Its session begins when the browser shows the page, and ends when the page goes.

    Args:
        served: What all pages share.
        client: The browser.
    """

    def __init__(self, served: Served, client: Client) -> None:
        self._served = served
        self._client = client
        self._session: Session | None = None
        self._wake = asyncio.Event()
        self._has_left = False
        self._link = ""  # in the address bar
        self._panes_due_sec = 0.0  # when the panes may change again
        self._link_sec = 0.0  # when it was put there
        self._title = ""
        ui.add_css(STYLE)
        ui.add_body_html(f"<script>{SCRIPT.read_text('utf-8')}</script>")
        client.content.classes("viewer-page")
        self._theme = ui.dark_mode(None)
        self._toolkit = WebToolkit()
        with ui.element("div").classes("viewer"):
            with ui.element("div").classes("viewer-side"):
                with ui.element("header").classes("viewer-bar"):
                    self._draw_bar()
                with ui.element("div").classes("viewer-panes"):
                    self._panes = Panes(self._toolkit, self._wake.set)
            with ui.element("main").classes("viewer-main"):
                self._picture = Picture(
                    on_drag=self._drag,
                    on_pointer=self._point,
                    on_key=self._press,
                    kept_keys=KEPT,
                    quality=served.options.quality,
                )
                self._offers = ui.element("div").classes("viewer-offers")
                self._offers.set_visibility(False)
        self._help = _help(KEYS + OF_UPLOADS if served.takes_uploads else KEYS)
        ui.on("link", self._take_link)
        ui.on("held", self._hold)
        ui.on("leave", self._leave)
        client.on_delete(self._wake.set)
        background_tasks.create(self._live(), name="page of the viewer")

    # Parts of the page

    def _draw_bar(self) -> None:
        Text("h1", "Visualizer", "viewer-title")
        if self._served.takes_uploads:
            self._draw_upload(self._served.options.max_upload_bytes)
        _icon("link", "Copy the link of this view", self._copy_link)
        _icon("help_outline", "Keys (F1)", lambda: self._help.open())
        self._theme_icon = _icon(THEMES[None], "Light, dark, or as the system", self._change_theme)

    def _draw_upload(self, max_bytes: int) -> None:
        size = f"{max_bytes / 2**20:.0f} MB"
        upload = ui.upload(
            max_file_size=max_bytes,
            auto_upload=True,
            on_begin_upload=lambda: self._say("uploading …"),
            on_upload=self._take_upload,
            on_rejected=lambda: self._say(
                f"not uploaded: a file can be at most {size} (--max-upload)"
            ),
        )
        upload.classes("viewer-upload hidden")
        hint = f"Upload a network, latents or directions ({', '.join(SUFFIXES)}), up to {size}"
        _icon("upload_file", hint, lambda: upload.run_method("pickFiles"))

    def _draw_offers(self, session: Session) -> None:
        """Offer networks in place of a picture, if none is shown."""
        is_needed = session.view.network is None
        if is_needed == self._offers.visible:
            return
        self._offers.clear()
        self._offers.set_visibility(is_needed)
        if not is_needed:
            return
        with self._offers, ui.element("div"):
            Text("p", OF_UPLOADS_TOO if self._served.takes_uploads else INTRODUCTION)
            for title, names in offers(session.settings.recent, session.browse_dirs).items():
                Text("h2", title)
                for name in names:
                    button = Text("button", drawable(name))
                    button.on("click", lambda _, name=name: session.open(name))

    def _change_theme(self) -> None:
        order = list(THEMES)
        value = order[(order.index(self._theme.value) + 1) % len(order)]
        self._theme.set_value(value)
        self._theme_icon.props(f"icon={THEMES[value]}")

    # The session

    async def _live(self) -> None:
        """Wait for the browser, and show a session until the page goes."""
        try:
            await self._client.connected(timeout=CONNECT_SEC)
        except TimeoutError:
            return
        while self._served.is_full and not self._is_gone:
            self._picture.show(None, Overlay(message=FULL.format(self._served.num_sessions)))
            await asyncio.sleep(FULL_SEC)
        if self._is_gone:
            return
        try:
            await self._show_session()
        except Exception:
            log.exception("a page of the viewer has failed")
            reason = "This page has failed, and the server has printed why. Load it again."
            self._picture.show(None, Overlay(message=reason, is_error=True))

    async def _show_session(self) -> None:
        """Draw frames until the page goes."""
        async with self._begin() as session:
            with contextlib.suppress(TimeoutError):  # the browser is slow; its first view comes
                link = await self._client.run_javascript("return location.hash", timeout=30)
                if isinstance(link, str) and len(link) > 1:
                    self._follow_link(session, link)
            while not self._is_gone:
                self._wake.clear()
                next_sec = self._frame(session)
                await asyncio.sleep(FRAME_SEC)
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), next_sec)

    @property
    def _is_gone(self) -> bool:
        """Whether nobody sees this page any more."""
        return self._has_left or self._client.is_deleted

    @contextlib.asynccontextmanager
    async def _begin(self) -> AsyncIterator[Session]:
        """Begin the session, and end it."""
        served, loop = self._served, asyncio.get_running_loop()

        def wake() -> None:  # in another thread
            with contextlib.suppress(RuntimeError):  # the server has ended
                loop.call_soon_threadsafe(self._wake.set)

        with contextlib.ExitStack() as stack:  # gives back what it has got, whatever fails
            stack.enter_context(served.place())
            self._uploads = stack.enter_context(contextlib.closing(served.uploads.begin_session()))
            renderer = stack.enter_context(contextlib.closing(served.renderer.session(wake)))
            self._session = Session(
                renderer,
                Downloads(lambda name, content: self._client.download(content, name)),
                VisitorFiles(served.places, self._uploads),
                networks=served.networks,
                view=served.view,
                browse_dirs=served.browse_dirs,
                is_simple=served.options.simple,
                request_frame=self._wake.set,
                copy=lambda text: background_tasks.create(self._copy(text)),
            )
            yield self._session

    def _frame(self, session: Session) -> float | None:
        """Draw what has changed; returns the seconds until the next frame, None for never."""
        session.take_result()
        session.performance.connection = self._connection()
        elapsed_sec = session.elapsed(session.interval())
        is_changing = self._toolkit.has_events
        sections = self._toolkit.frame(lambda ui: session.draw_panes(ui, elapsed_sec))
        next_sec = session.advance()
        if is_changing:  # what was drawn before the changed control may be out of date
            next_sec = 0.0
        self._picture.show(*session.picture())
        now = time.monotonic()
        if now < self._panes_due_sec:
            rest_sec = self._panes_due_sec - now
            return rest_sec if next_sec is None else min(next_sec, rest_sec)
        self._panes_due_sec = now + PANES_SEC
        self._panes.update(sections)
        self._picture.set_mode("points" if session.points.takes_mouse else "drag")
        self._picture.set_status(session.status())
        self._draw_offers(session)
        self._show_title(session)
        if session.is_quiet or time.monotonic() - self._link_sec >= LINK_SEC:
            self._show_link(session)
        return next_sec

    def _connection(self) -> str:
        statistic = self._picture.statistic
        if statistic.frames_per_sec == 0:
            return "at rest"
        size = "" if statistic.reduction == 1 else f", 1/{statistic.reduction} of the size"
        pictures = f"{statistic.frames_per_sec:.0f} pictures/s of {statistic.kb_per_frame:.0f} kB"
        latency = f"latency {statistic.answer_ms:.0f} ms"
        return f"{pictures}, {latency}, quality {statistic.quality}{size}"

    # What the user does besides the panes

    def _drag(self, dx: float, dy: float) -> None:
        if self._session is not None:
            self._session.drag_picture(dx, dy)
            self._wake.set()

    def _point(self, pointer: Pointer) -> None:
        if self._session is not None:
            self._session.point(pointer)
            self._wake.set()

    def _press(self, key: KeyPress) -> None:
        if key.name == "F1" and not key.is_repeat:
            self._help.open()
        elif self._session is not None:
            self._session.press(key)
            self._wake.set()

    async def _take_upload(self, event: events.UploadEventArguments) -> None:
        event.sender.run_method("reset")
        if self._session is None:
            return
        try:
            path = await self._uploads.save(event.file.name, event.file.iterate())
        except (InputError, OSError) as error:
            # Not the path of the server, which belongs to messages about an `OSError`.
            reason = getattr(error, "strerror", None) or errors.message_of(error)
            self._say(f"not uploaded: {reason}")
        else:
            before = self._session.view
            self._session.open(path)
            if self._session.view != before:  # otherwise the session has said why
                self._say(f"uploaded {self._uploads.name_of(path)}")

    def _say(self, message: str) -> None:
        if self._session is not None:
            self._session.say(message)
            self._wake.set()

    def _hold(self, event: events.GenericEventArguments) -> None:
        """A button of the mouse, or a finger, goes down or up anywhere on the page."""
        if self._session is not None:
            self._session.is_held = event.args is True
            self._wake.set()

    def _leave(self) -> None:
        """The page is closed, or loaded again: its place and its files are free at once."""
        self._has_left = True
        self._wake.set()

    def _take_link(self, event: events.GenericEventArguments) -> None:
        """The visitor has entered another link."""
        link = event.args
        if self._session is not None and isinstance(link, str) and link != f"#{self._link}":
            self._follow_link(self._session, link)
            self._wake.set()

    def _follow_link(self, session: Session, link: str) -> None:
        is_right = session.follow_link(link)
        # A wrong link stays in the address bar, where it can be mended.
        self._link = link.removeprefix("#") if is_right else session.link()[0]

    def _show_link(self, session: Session) -> None:
        """Put the link of the view into the address bar, so that loading the page restores it."""
        link, _ = session.link()
        if link != self._link:
            self._link, self._link_sec = link, time.monotonic()
            address = json.dumps(f"#{link}" if link else "")
            self._client.run_javascript(
                f"history.replaceState(null, '', {address} || location.pathname)"
            )

    def _show_title(self, session: Session) -> None:
        """Name the network in the title of the page."""
        network = session.view.network
        title = "Visualizer" if network is None else f"{Path(network).name} - Visualizer"
        if title != self._title:
            self._title = title
            self._client.run_javascript(f"document.title = {json.dumps(drawable(title))}")

    async def _copy_link(self) -> None:
        if self._session is None:
            return
        _, left_out = self._session.link()
        self._show_link(self._session)
        address = await self._client.run_javascript("return location.href", timeout=10)
        await self._copy(str(address))
        without = f", without {', '.join(left_out)}" if left_out else ""
        self._say(f"copied the link of this view{without}")

    async def _copy(self, text: str) -> None:
        """Copy a text, or show it where the browser does not let the page copy."""
        code = COPY.format(text=json.dumps(text))
        if await self._client.run_javascript(code, timeout=10) is not False:
            return
        with self._client, ui.dialog(value=True) as dialog, ui.card():
            ui.label("This page may not use the clipboard. Copy the text yourself:")
            ui.textarea(value=text).props("readonly outlined autogrow").classes("viewer-text")
            ui.button("Close", on_click=dialog.close).props("flat no-caps")
        dialog.on("hide", dialog.delete)


def _help(lines: Sequence[tuple[str, str]]) -> ui.dialog:
    """What keys and the mouse do."""
    with ui.dialog() as dialog, ui.card():
        with ui.grid(columns="auto auto").classes("viewer-keys"):
            for keys, effect in lines:
                ui.label(keys)
                ui.label(effect).classes("viewer-effect")
        ui.button("Close", on_click=dialog.close).props("flat no-caps")
    return dialog


def _icon(name: str, hint: str, on_click: Callable) -> ui.button:
    """Draw a button of the bar."""
    button = ui.button(icon=name, on_click=on_click).props("flat dense round size=sm")
    button.props["aria-label"] = hint
    with button:
        ui.tooltip(hint)
    return button
