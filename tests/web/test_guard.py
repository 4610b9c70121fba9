"""What stands before every request, alone."""

import asyncio
import json
from typing import Any

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from dataspine.core.errors import UnavailableError
from dataspine.web.guard import Guard
from dataspine.web.problem import problem

POST: Scope = {
    "type": "http",
    "method": "POST",
    "path": "/",
    "raw_path": b"/",
    "headers": [(b"host", b"127.0.0.1"), (b"transfer-encoding", b"chunked")],
}


async def _app(scope: Scope, receive: Receive, send: Send) -> None:
    try:
        while (await receive())["more_body"]:
            pass
        await Response(b"taken")(scope, receive, send)
    except UnavailableError as error:
        await problem(error)(scope, receive, send)


async def _sent(guard: Guard, *messages: Message, wait: asyncio.Event) -> tuple[int, bytes]:
    answer: list[Message] = []
    coming = iter(messages)

    async def receive() -> Message:
        message = next(coming)
        if not message["more_body"]:
            await wait.wait()
        return message

    async def send(message: Message) -> None:
        answer.append(message)

    await guard(POST, receive, send)
    return answer[0]["status"], answer[1]["body"]


def _part(size: int, more: bool) -> dict[str, Any]:
    return {"type": "http.request", "body": b"x" * size, "more_body": more}


def test_bodies_that_wait_together_are_bounded() -> None:
    async def three() -> list[tuple[int, bytes]]:
        guard = Guard(_app, hosts=(), max_bodies=10)
        first, now = asyncio.Event(), asyncio.Event()
        now.set()
        waiting = asyncio.ensure_future(_sent(guard, _part(8, True), _part(0, False), wait=first))
        await asyncio.sleep(0)
        refused = await _sent(guard, _part(3, False), wait=now)
        first.set()
        return [await waiting, refused, await _sent(guard, _part(3, False), wait=now)]

    taken, refused, again = asyncio.run(three())
    found = json.loads(refused[1])
    told = {name: found[name] for name in ("code", "problem", "where", "remedy", "retry")}
    assert (taken, again) == ((200, b"taken"), (200, b"taken"))
    assert (refused[0], told) == (
        503,
        {
            "code": "serve.busy",
            "problem": "too many large bodies at once",
            "where": "body",
            "remedy": "Send it again in a moment.",
            "retry": True,
        },
    )
