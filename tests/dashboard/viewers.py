"""Viewers of a page without a browser: they open it as a browser does, and let its timers call the server.

A browser draws on a machine of its own; what is left is what many viewers ask of the server.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect

LARGEST = 64 * 1024 * 1024  # bytes of a message


class Viewer:
    """One open page: what it has been sent, its buttons, the fragments that it calls again (so many times as often as
    they ask for), and the seconds that it waited for the whole page, whenever it asked for that."""

    def __init__(self, url: str, speed: float = 1.0):
        parts = urlsplit(url)
        self.origin, self.page, self.query = f"{parts.scheme}://{parts.netloc}", parts.path.strip("/"), parts.query
        self.speed, self.buttons, self.asked, self.waits = speed, {}, 0.0, []
        self.socket: ClientConnection | None = None
        self.messages = self.bytes = self.finished = 0
        self.everything = b""  # of the first megabyte that it was sent
        self.known: set[str] = set()  # messages that need not be sent again
        self.script = ""
        self.timers: list[asyncio.Task] = []

    async def watch(self, until: asyncio.Event) -> None:
        address = f"{self.origin.replace('http', 'ws', 1)}/_stcore/stream"
        async with connect(address, subprotocols=["streamlit"], origin=self.origin, max_size=LARGEST) as socket:
            self.socket = socket
            await self._ask(socket)
            listening, ending = asyncio.create_task(self._listen(socket)), asyncio.create_task(until.wait())
            done, _ = await asyncio.wait({listening, ending}, return_when=asyncio.FIRST_COMPLETED)
            for task in (listening, ending, *self.timers):
                task.cancel()
            await asyncio.wait({ending, *self.timers})
            if listening in done:
                raise AssertionError("the server has closed the page") from listening.exception()

    async def press(self, label: str = "") -> None:
        """A click on a button; without a label, anything that has the whole page drawn anew."""
        await self._ask(self.socket, press=self.buttons[label] if label else "")

    async def _ask(self, socket: ClientConnection, fragment: str = "", press: str = "") -> None:
        if not fragment:
            self.asked = time.monotonic()
        asked = BackMsg()
        if press:
            clicked = asked.rerun_script.widget_states.widgets.add()
            clicked.id, clicked.trigger_value = press, True
        state = asked.rerun_script
        state.query_string, state.page_name, state.page_script_hash = self.query, self.page, self.script
        state.fragment_id, state.is_auto_rerun = fragment, bool(fragment)
        state.cached_message_hashes.extend(self.known)
        await socket.send(asked.SerializeToString())

    async def _listen(self, socket: ClientConnection) -> None:
        async for raw in socket:
            told = ForwardMsg.FromString(raw)
            self.messages, self.bytes = self.messages + 1, self.bytes + len(raw)
            self.everything += raw if len(self.everything) < 1 << 20 else b""
            if told.metadata.cacheable:
                self.known.add(told.hash)
            kind = told.WhichOneof("type")
            if kind == "delta" and told.delta.new_element.WhichOneof("type") == "button":
                self.buttons[told.delta.new_element.button.label] = told.delta.new_element.button.id
            if kind == "new_session" and not told.metadata.run.fragment_ids:  # the whole page is drawn anew
                self.script = told.new_session.page_script_hash
                while self.timers:
                    self.timers.pop().cancel()
            elif kind == "auto_rerun":
                again = self._again(socket, told.auto_rerun.fragment_id, told.auto_rerun.interval)
                self.timers.append(asyncio.create_task(again))
            elif kind == "script_finished":
                self.finished += 1
                if self.asked:
                    self.waits.append(time.monotonic() - self.asked)
                    self.asked = 0.0

    async def _again(self, socket: ClientConnection, fragment: str, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds / self.speed)
            await self._ask(socket, fragment)


@contextlib.contextmanager
def viewing(url: str, count: int) -> Iterator[list[Viewer]]:
    """So many viewers of a page, while the block lasts."""
    viewers, loop, until = [Viewer(url) for _ in range(count)], asyncio.new_event_loop(), asyncio.Event()

    async def all_of_them() -> None:
        await asyncio.gather(*(viewer.watch(until) for viewer in viewers), return_exceptions=True)

    thread = threading.Thread(target=loop.run_until_complete, args=(all_of_them(),), daemon=True)
    thread.start()
    try:
        yield viewers
    finally:
        loop.call_soon_threadsafe(until.set)
        thread.join(20)
        loop.close()
