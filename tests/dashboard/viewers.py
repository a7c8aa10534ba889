"""Viewers of a page without a browser. They open it as a browser does and run its timers.

Browsers draw on their own machines. What remains is the load that many viewers put on the server.
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
    """One open page: the messages it received, its buttons, the fragments it reruns (`speed` times as often as they ask
    for), and the seconds it waited for each full rerun."""

    def __init__(self, url: str, speed: float = 1.0):
        parts = urlsplit(url)
        self.origin, self.page, self.query = f"{parts.scheme}://{parts.netloc}", parts.path.strip("/"), parts.query
        self.speed, self.buttons, self.asked, self.waits = speed, {}, 0.0, []
        self.socket: ClientConnection | None = None
        self.messages = self.bytes = self.finished = 0
        self.everything = b""  # the first megabyte that it received
        self.known: set[str] = set()  # hashes of messages that need not be sent again
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
                raise AssertionError("the server closed the connection") from listening.exception()

    async def press(self, label: str = "") -> None:
        """Click a button; without a label, request a full rerun."""
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
            message = ForwardMsg.FromString(raw)
            self.messages, self.bytes = self.messages + 1, self.bytes + len(raw)
            self.everything += raw if len(self.everything) < 1 << 20 else b""
            if message.metadata.cacheable:
                self.known.add(message.hash)
            kind = message.WhichOneof("type")
            if kind == "delta" and message.delta.new_element.WhichOneof("type") == "button":
                self.buttons[message.delta.new_element.button.label] = message.delta.new_element.button.id
            if kind == "new_session" and not message.metadata.run.fragment_ids:  # a full rerun
                self.script = message.new_session.page_script_hash
                while self.timers:
                    self.timers.pop().cancel()
            elif kind == "auto_rerun":
                timer = self._rerun(socket, message.auto_rerun.fragment_id, message.auto_rerun.interval)
                self.timers.append(asyncio.create_task(timer))
            elif kind == "script_finished":
                self.finished += 1
                if self.asked:
                    self.waits.append(time.monotonic() - self.asked)
                    self.asked = 0.0

    async def _rerun(self, socket: ClientConnection, fragment: str, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds / self.speed)
            await self._ask(socket, fragment)


@contextlib.contextmanager
def viewing(url: str, count: int) -> Iterator[list[Viewer]]:
    """`count` viewers of a page, for the duration of the block."""
    viewers, loop, until = [Viewer(url) for _ in range(count)], asyncio.new_event_loop(), asyncio.Event()

    async def watch_all() -> None:
        await asyncio.gather(*(viewer.watch(until) for viewer in viewers), return_exceptions=True)

    thread = threading.Thread(target=loop.run_until_complete, args=(watch_all(),), daemon=True)
    thread.start()
    try:
        yield viewers
    finally:
        loop.call_soon_threadsafe(until.set)
        thread.join(20)
        loop.close()
