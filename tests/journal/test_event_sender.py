"""Event sender and receiver over a real socket: batch, drops, and no delay for the worker."""

import asyncio
import contextlib
import os
import stat
import time
from dataclasses import replace
from pathlib import Path

import pytest

from hedgerow.journal.event_receiver import EventReceiver
from hedgerow.journal.event_sender import DROPPED_METRIC, EventSender
from hedgerow.journal.messages import (
    LINE_LIMIT,
    CounterDelta,
    DeviceSeen,
    GaugeLevel,
    ProtectionSeen,
    WorkerHello,
    encode,
)
from hedgerow.policies.identity import Protection
from hedgerow.policies.model import AccessRequest, DeviceId, Observation, Reason, RequestKind, Verdict
from hedgerow.policies.time_model import ActiveMinute
from hedgerow.sockets import bind_datagrams, offer_connection, take_connection


def seen(host="example.com", reason=Reason.CATEGORY):
    return Observation(1.0, DeviceId("mia"), "mia", "child-8-12", RequestKind.DNS, Verdict.BLOCK, reason, "adult", host)


def asked(host="example.org"):
    return AccessRequest(1.0, DeviceId("mia"), "mia", host)


@contextlib.asynccontextmanager
async def serving(path):
    server = EventReceiver(path)
    await server.start()
    try:
        yield server
    finally:
        await server.close()


@contextlib.asynccontextmanager
async def running(sender):
    task = asyncio.create_task(sender.run())
    try:
        yield sender
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def receive(server, is_enough, seconds=5.0):
    """Return all batches until `is_enough(messages)`."""
    batches = []
    async with asyncio.timeout(seconds):
        async for batch in server.batches():
            batches.append(batch)
            if is_enough([message for one in batches for message in one.messages]):
                break
    return batches


def messages_of(batches):
    return [message for batch in batches for message in batch.messages]


def make(path, **more):
    return EventSender(path, "dns-0", "dns", interval=0.01, **more)


def test_nothing_happens_in_the_future(tmp_path):
    now, ahead = 1_780_000_000.0, 4_000_000_000.0
    ask, minute = asked(), ActiveMinute(int(ahead // 60), "person:mia", "")
    sighting = DeviceSeen(ahead, DeviceId("mia"), "192.168.1.31")
    use = ProtectionSeen(ahead, DeviceId("mia"), Protection.DNS)
    sent = (replace(seen(), when=ahead), replace(ask, when=ahead), sighting, use, minute)

    async def main():
        server = EventReceiver(tmp_path / "sender", clock=lambda: now)
        await server.start()
        async with running(make(tmp_path / "sender")) as sender:
            for message in (*sent, seen(), replace(minute, minute=int(now // 60) - 5)):
                sender.send(message)
            got = messages_of(await receive(server, lambda got: len(got) >= 7))
        await server.close()
        assert {each.when for each in got if not isinstance(each, ActiveMinute)} == {now, 1.0}
        assert {each.minute for each in got if isinstance(each, ActiveMinute)} == {now // 60, now // 60 - 5}

    asyncio.run(main())


def test_every_kind_of_message_arrives_with_its_sender(tmp_path):
    async def main():
        async with serving(tmp_path / "sender") as server, running(make(tmp_path / "sender")) as sender:
            sighting = DeviceSeen(1.0, DeviceId("mia"), "192.168.1.31", "aa:bb:cc:dd:ee:ff")
            for message in (seen(), asked(), sighting, GaugeLevel("hedgerow_dns_cache_entries", (), 7.0)):
                sender.send(message)
            sender.send(CounterDelta("hedgerow_dns_dropped_total", ("garbage",), 2.0))
            batches = await receive(server, lambda got: len(got) >= 5)
        assert {(one.worker, one.role) for one in batches} == {("dns-0", "dns")}
        got = messages_of(batches)
        assert set(map(type, got)) == {Observation, AccessRequest, DeviceSeen, GaugeLevel, CounterDelta}
        assert seen() in got
        assert asked() in got

    asyncio.run(main())


def test_the_socket_has_mode_0600_and_is_removed(tmp_path):
    async def main():
        path = tmp_path / "state" / "sender"
        async with serving(path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
            assert stat.S_ISSOCK(path.stat().st_mode)
        assert not path.exists()

    asyncio.run(main())


def test_a_stale_socket_of_a_killed_control_is_replaced(tmp_path):
    async def main():
        path = tmp_path / "sender"
        bind_datagrams(path).close()
        assert path.exists()
        async with serving(path) as server, running(make(path)) as sender:
            sender.send(seen())
            assert messages_of(await receive(server, bool)) == [seen()]

    asyncio.run(main())


def test_lifelines_are_neither_sent_nor_accepted(tmp_path):
    async def main():
        path = tmp_path / "sender"
        async with serving(path) as server, running(make(path)) as sender:
            sender.send(seen("help.example", Reason.LIFELINE))
            sender.send(seen())
            assert messages_of(await receive(server, bool)) == [seen()]
            # A worker that does not check is refused by the receiver.
            _, writer = await asyncio.open_unix_connection(sock=offer_connection(str(path)))
            writer.write(
                encode(WorkerHello("gate-0", "gate")) + encode(seen("help.example", Reason.LIFELINE)) + encode(asked())
            )
            assert messages_of(await receive(server, bool)) == [asked()]
            writer.close()
            await writer.wait_closed()

    asyncio.run(main())


def test_malformed_lines_are_counted_and_skipped(tmp_path):
    async def main():
        async with serving(tmp_path / "sender") as server:
            _, writer = await asyncio.open_unix_connection(sock=offer_connection(str(tmp_path / "sender")))
            writer.write(
                encode(WorkerHello("gate-0", "gate"))
                + b"nonsense\n"
                + encode(seen())
                + b"x" * (3 * LINE_LIMIT)
                + b"\n"
                + encode(asked())
            )
            batches = await receive(server, lambda got: len(got) == 2)
            assert messages_of(batches) == [seen(), asked()]
            assert sum(one.malformed for one in batches) == server.malformed == 2
            writer.close()
            await writer.wait_closed()

    asyncio.run(main())


def test_the_last_batch_of_a_connection_is_marked(tmp_path):
    async def main():
        async with serving(tmp_path / "sender") as server:
            async with running(make(tmp_path / "sender")) as sender:
                sender.send(seen())
                await receive(server, bool)
            async with asyncio.timeout(30):
                async for batch in server.batches():
                    if batch.left:
                        assert (batch.worker, batch.role) == ("dns-0", "dns")
                        break

    asyncio.run(main())


def test_queued_messages_arrive_when_control_returns(tmp_path):
    async def main():
        path = tmp_path / "sender"
        async with running(make(path)) as sender:
            sender.send(seen())
            sender.count(("hedgerow_dns_cache_hits_total",), 3.0)
            await asyncio.sleep(0.1)
            assert not sender.connected
            async with serving(path) as server:
                first = messages_of(await receive(server, lambda got: len(got) == 2))
            sender.send(asked())
            sender.count(("hedgerow_dns_cache_hits_total",), 4.0)
            async with serving(path) as server:
                second = messages_of(
                    await receive(
                        server, lambda got: asked() in got and any(isinstance(one, CounterDelta) for one in got)
                    )
                )
        counted = [one.value for one in first + second if isinstance(one, CounterDelta)]
        assert seen() in first
        assert counted == [3.0, 4.0]

    asyncio.run(main())


def test_gauges_are_sent_again_to_a_restarted_control(tmp_path):
    async def main():
        path = tmp_path / "sender"
        level = GaugeLevel("hedgerow_proxy_open_tunnels", (), 5.0)
        async with running(make(path)) as sender:
            sender.report_totals({("hedgerow_proxy_open_tunnels",): 5.0})
            for _ in range(2):
                async with serving(path) as server:
                    assert level in messages_of(await receive(server, bool))

    asyncio.run(main())


def test_a_full_queue_drops_the_oldest_observations_but_no_request(tmp_path):
    async def main():
        path = tmp_path / "sender"
        sender = make(path, limit=10)
        sender.send(asked())
        for number in range(25):
            sender.send(seen(f"host-{number}.example"))
        assert sender.dropped == 15
        async with serving(path) as server, running(sender):
            got = messages_of(await receive(server, lambda got: len(got) == 12))
        assert asked() in got
        assert CounterDelta(DROPPED_METRIC, ("dns",), 15.0) in got
        assert [one.host for one in got if isinstance(one, Observation)] == [
            f"host-{number}.example" for number in range(15, 25)
        ]

    asyncio.run(main())


def test_totals_become_deltas_even_after_a_reset():
    sender = EventSender(Path("unused"), "dns-0", "dns")
    hits = ("hedgerow_dns_cache_hits_total",)
    for total, delta in ((5.0, 5.0), (5.0, 0.0), (8.0, 3.0), (2.0, 2.0)):
        sender.report_totals({hits: total})
        taken = sender._take_batch()
        deltas = [one.value for one in taken if isinstance(one, CounterDelta)]
        assert (len(deltas), sum(deltas)) == (len(taken), delta)


def test_a_control_that_does_not_read_never_blocks_the_worker(tmp_path):
    """The server accepts and reads nothing: the socket buffer and the queue fill, and `send` still returns."""

    async def main():
        listener = bind_datagrams(tmp_path / "sender")
        longest = 0.0
        async with running(make(tmp_path / "sender", limit=2000)) as sender:
            started = time.perf_counter()
            number = 0
            while time.perf_counter() - started < 1.0:
                before = time.perf_counter()
                for _ in range(100):
                    sender.send(seen(f"host-{number}.example" + "x" * 200))
                    number += 1
                longest = max(longest, time.perf_counter() - before)
                await asyncio.sleep(0)
            accepted = take_connection(listener)
            assert accepted is not None
            assert sender.dropped > 0
            assert len(sender._observations) <= 2000
        # 100 appends; a blocking write would never return.
        assert longest < 2.0
        listener.close()
        accepted.close()

    asyncio.run(main())


def test_twenty_thousand_events_arrive_in_order_and_complete(tmp_path):
    async def main():
        async with serving(tmp_path / "sender") as server, running(make(tmp_path / "sender")) as sender:
            for number in range(20_000):
                sender.send(seen(f"{number}.example"))
            got = []
            async with asyncio.timeout(30):
                async for batch in server.batches():
                    got.extend(batch.messages)
                    if len(got) >= 20_000:
                        break
        assert [one.host for one in got] == [f"{number}.example" for number in range(20_000)]
        assert sender.dropped == 0

    asyncio.run(main())


def test_a_killed_worker_loses_nothing_that_it_sent(tmp_path):
    """After kill -9 its messages are there, and the server goes on with other workers."""

    async def main():
        path = tmp_path / "sender"
        async with serving(path) as server:
            child = os.fork()
            if child == 0:
                asyncio.set_event_loop(None)
                os._exit(_send_and_hang(path))
            got = messages_of(await receive(server, bool))
            os.kill(child, 9)
            await asyncio.to_thread(os.waitpid, child, 0)
            assert got == [seen()]
            async with running(make(path)) as sender:
                sender.send(asked())
                assert asked() in messages_of(await receive(server, lambda got: asked() in got))

    asyncio.run(main())


def _send_and_hang(path):
    with offer_connection(str(path)) as line:
        line.sendall(encode(WorkerHello("gate-1", "gate")) + encode(seen()) + b'{"observation": {"half')
        time.sleep(30)
    return 0


def test_the_sender_stops_while_control_stops(tmp_path):
    """Cancelled at any moment of a closing connection, the sender ends."""

    async def main(pauses: int) -> None:
        path = tmp_path / f"{pauses}.sock"
        server = EventReceiver(path)
        await server.start()
        sender = make(path)
        task = asyncio.create_task(sender.run())
        sender.send(seen())
        async with asyncio.timeout(30):
            await receive(server, bool, 30.0)
            await server.close()
            for _ in range(pauses):
                await asyncio.sleep(0.001)
            task.cancel()
            await asyncio.wait([task])

    for pauses in range(15):
        asyncio.run(main(pauses))


def test_a_worker_is_told_of_a_snapshot_at_once_and_after_each_connection(tmp_path):
    async def main():
        told = asyncio.Event()

        async def next_news():
            async with asyncio.timeout(20):
                await told.wait()
            told.clear()

        path = tmp_path / "sender"
        async with running(make(path, on_news=told.set)):
            async with serving(path) as server:
                await next_news()
                server.announce_snapshot()
                await next_news()
            async with serving(path):
                await next_news()

    asyncio.run(main())


def test_a_sender_without_messages_lets_its_worker_sleep(tmp_path):
    """Its loop runs nothing while there is nothing to send, and sends at once what comes."""

    async def main():
        path = tmp_path / "sender"
        async with serving(path) as server, running(make(path)) as sender:
            sender.send(asked())
            assert messages_of(await receive(server, bool)) == [asked()]
            await asyncio.sleep(0.05)  # the least time between two sendings
            sender._take_batch = lambda: pytest.fail("it looked for messages")
            await asyncio.sleep(0.1)
            del sender._take_batch
            sender.send(seen())
            assert messages_of(await receive(server, bool)) == [seen()]

    asyncio.run(main())
