"""Viewers of a page without a browser: they open it as a browser does, and let its timers call the server.

A browser draws on a machine of its own; what is left is what many viewers ask of the server.
"""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect

LARGEST = 64 * 1024 * 1024  # bytes of a message


class Viewer:
    """One open page: what it has been sent, and the fragments that it calls again."""

    def __init__(self, url: str):
        parts = urlsplit(url)
        self.origin, self.page, self.query = f"{parts.scheme}://{parts.netloc}", parts.path.strip("/"), parts.query
        self.messages = self.bytes = self.finished = 0
        self.known: set[str] = set()  # messages that need not be sent again
        self.script = ""
        self.timers: list[asyncio.Task] = []

    async def watch(self, until: asyncio.Event) -> None:
        address = f"{self.origin.replace('http', 'ws', 1)}/_stcore/stream"
        async with connect(address, subprotocols=["streamlit"], origin=self.origin, max_size=LARGEST) as socket:
            await self._ask(socket)
            listening, ending = asyncio.create_task(self._listen(socket)), asyncio.create_task(until.wait())
            done, _ = await asyncio.wait({listening, ending}, return_when=asyncio.FIRST_COMPLETED)
            for task in (listening, ending, *self.timers):
                task.cancel()
            await asyncio.wait({ending, *self.timers})
            if listening in done:
                raise AssertionError("the server has closed the page") from listening.exception()

    async def _ask(self, socket: ClientConnection, fragment: str = "") -> None:
        asked = BackMsg()
        state = asked.rerun_script
        state.query_string, state.page_name, state.page_script_hash = self.query, self.page, self.script
        state.fragment_id, state.is_auto_rerun = fragment, bool(fragment)
        state.cached_message_hashes.extend(self.known)
        await socket.send(asked.SerializeToString())

    async def _listen(self, socket: ClientConnection) -> None:
        async for raw in socket:
            told = ForwardMsg.FromString(raw)
            self.messages, self.bytes = self.messages + 1, self.bytes + len(raw)
            if told.metadata.cacheable:
                self.known.add(told.hash)
            kind = told.WhichOneof("type")
            if kind == "new_session" and not told.metadata.run.fragment_ids:  # the whole page is drawn anew
                self.script = told.new_session.page_script_hash
                while self.timers:
                    self.timers.pop().cancel()
            elif kind == "auto_rerun":
                again = self._again(socket, told.auto_rerun.fragment_id, told.auto_rerun.interval)
                self.timers.append(asyncio.create_task(again))
            elif kind == "script_finished":
                self.finished += 1

    async def _again(self, socket: ClientConnection, fragment: str, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
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
