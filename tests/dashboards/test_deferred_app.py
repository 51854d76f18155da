"""The application that is loaded with the first request for it."""

from __future__ import annotations

import asyncio
import threading

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp

from hedgerow.dashboards.control import WorkerHealth
from hedgerow.dashboards.deferred_app import DeferredApp, RunHealth


def health(*states: str) -> RunHealth:
    workers = tuple(WorkerHealth(f"dns-{number}", "dns", state, 0.0) for number, state in enumerate(states))
    return RunHealth(workers, (), rules_in_force=True, lists_are_missing=False)


def client_of(app: ASGIApp) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://hedgerow.test", timeout=60)


def test_health_checks_load_nothing() -> None:
    def load() -> ASGIApp:
        raise AssertionError

    async def ask(*states: str) -> set[tuple[int, str]]:
        async with client_of(DeferredApp(load, lambda: health(*states))) as client:
            answers = [await client.get(path) for path in ("/healthz", "/readyz")]
            return {(answer.status_code, answer.text) for answer in answers}

    assert asyncio.run(ask("running", "running")) == {(200, "ok\n")}
    assert asyncio.run(ask("running", "restarting")) == {(503, "some workers are not running\n")}


def test_requests_meanwhile_wait_without_holding_the_loop_and_it_is_loaded_once() -> None:
    begun, may_end, loads = threading.Event(), threading.Event(), list[int]()

    def load() -> ASGIApp:
        loads.append(threading.get_ident())
        begun.set()
        assert may_end.wait(60)
        return PlainTextResponse("loaded")

    async def ask() -> None:
        async with client_of(DeferredApp(load, health)) as client:
            requests = [asyncio.ensure_future(client.get("/")) for _ in range(3)]
            await asyncio.to_thread(begun.wait, 60)
            for _ in range(200):  # turns of the same loop, which the requests must not hold
                await asyncio.sleep(0)
            assert not any(request.done() for request in requests)
            assert (await client.get("/healthz")).text == "ok\n"
            may_end.set()
            assert [(await request).text for request in requests] == ["loaded"] * 3

    asyncio.run(ask())
    assert len(loads) == 1
    assert loads != [threading.get_ident()]


def test_a_failed_load_is_tried_again() -> None:
    outcomes: list[ASGIApp | None] = [None, PlainTextResponse("loaded")]

    def load() -> ASGIApp:
        app = outcomes.pop(0)
        if app is None:
            raise OSError("no memory")
        return app

    async def ask() -> None:
        async with client_of(DeferredApp(load, health)) as client:
            with pytest.raises(OSError, match="no memory"):
                await client.get("/")
            assert (await client.get("/")).text == "loaded"
            assert (await client.get("/healthz")).text == "ok\n", "a check does without it, loaded or not"

    asyncio.run(ask())
