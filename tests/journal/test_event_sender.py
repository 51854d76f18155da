"""The courier over a real socket: what arrives, what is dropped, what a worker feels of it."""

import asyncio
import contextlib
import os
import stat
import time

from hedgerow.journal.event_receiver import EventReceiver
from hedgerow.journal.event_sender import DROPPED_METRIC, EventSender
from hedgerow.journal.messages import LINE_LIMIT, CounterDelta, DeviceSeen, GaugeLevel, WorkerHello, encode
from hedgerow.policies.model import AccessRequest, DeviceId, Observation, Reason, RequestKind, Verdict


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
async def running(courier):
    task = asyncio.create_task(courier.run())
    try:
        yield courier
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def receive(server, is_enough, seconds=5.0):
    """All deliveries until `is_enough(messages)`."""
    deliveries = []
    async with asyncio.timeout(seconds):
        async for delivery in server.deliveries():
            deliveries.append(delivery)
            if is_enough([message for one in deliveries for message in one.messages]):
                break
    return deliveries


def messages_of(deliveries):
    return [message for delivery in deliveries for message in delivery.messages]


def make(path, **more):
    return EventSender(path, "dns-0", "dns", interval=0.01, **more)


def test_every_kind_of_message_arrives_with_its_sender(tmp_path):
    async def main():
        async with serving(tmp_path / "courier") as server, running(make(tmp_path / "courier")) as courier:
            sighting = DeviceSeen(1.0, DeviceId("mia"), "192.168.1.31", "aa:bb:cc:dd:ee:ff")
            for message in (seen(), asked(), sighting, GaugeLevel("hedgerow_dns_cache_entries", (), 7.0)):
                courier.send(message)
            courier.send(CounterDelta("hedgerow_dns_dropped_total", ("garbage",), 2.0))
            deliveries = await receive(server, lambda got: len(got) >= 5)
        assert {(one.worker, one.role) for one in deliveries} == {("dns-0", "dns")}
        got = messages_of(deliveries)
        assert set(map(type, got)) == {Observation, AccessRequest, DeviceSeen, GaugeLevel, CounterDelta}
        assert seen() in got
        assert asked() in got

    asyncio.run(main())


def test_the_socket_is_for_the_owner_only_and_goes_away(tmp_path):
    async def main():
        path = tmp_path / "state" / "courier"
        async with serving(path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
            assert stat.S_ISSOCK(path.stat().st_mode)
        assert not path.exists()

    asyncio.run(main())


def test_a_stale_socket_of_a_killed_control_is_replaced(tmp_path):
    async def main():
        path = tmp_path / "courier"
        stale = await asyncio.start_unix_server(lambda reader, writer: None, str(path), cleanup_socket=False)
        stale.close()
        assert path.exists()
        async with serving(path) as server, running(make(path)) as courier:
            courier.send(seen())
            assert messages_of(await receive(server, bool)) == [seen()]

    asyncio.run(main())


def test_lifelines_never_leave_the_worker_and_are_never_taken(tmp_path):
    async def main():
        path = tmp_path / "courier"
        async with serving(path) as server, running(make(path)) as courier:
            courier.send(seen("help.example", Reason.LIFELINE))
            courier.send(seen())
            assert messages_of(await receive(server, bool)) == [seen()]
            # A worker that forgot to ask is refused at the other end too.
            _, writer = await asyncio.open_unix_connection(str(path))
            writer.write(encode(WorkerHello("gate-0", "gate")) + encode(seen("help.example", Reason.LIFELINE)) + encode(asked()))
            assert messages_of(await receive(server, bool)) == [asked()]
            writer.close()
            await writer.wait_closed()

    asyncio.run(main())


def test_malformed_lines_are_counted_and_the_rest_is_taken(tmp_path):
    async def main():
        async with serving(tmp_path / "courier") as server:
            _, writer = await asyncio.open_unix_connection(str(tmp_path / "courier"))
            writer.write(
                encode(WorkerHello("gate-0", "gate")) + b"nonsense\n" + encode(seen()) + b"x" * (3 * LINE_LIMIT) + b"\n" + encode(asked())
            )
            deliveries = await receive(server, lambda got: len(got) == 2)
            assert messages_of(deliveries) == [seen(), asked()]
            assert sum(one.malformed for one in deliveries) == server.malformed == 2
            writer.close()
            await writer.wait_closed()

    asyncio.run(main())


def test_the_last_delivery_of_a_worker_says_that_it_left(tmp_path):
    async def main():
        async with serving(tmp_path / "courier") as server:
            async with running(make(tmp_path / "courier")) as courier:
                courier.send(seen())
                await receive(server, bool)
            async with asyncio.timeout(30):
                async for delivery in server.deliveries():
                    if delivery.left:
                        assert (delivery.worker, delivery.role) == ("dns-0", "dns")
                        break

    asyncio.run(main())


def test_what_waited_while_control_was_away_arrives_later(tmp_path):
    async def main():
        path = tmp_path / "courier"
        async with running(make(path)) as courier:
            courier.send(seen())
            courier.count(("hedgerow_dns_cache_hits_total",), 3.0)
            await asyncio.sleep(0.1)
            assert not courier.connected
            async with serving(path) as server:
                first = messages_of(await receive(server, lambda got: len(got) == 2))
            courier.send(asked())
            courier.count(("hedgerow_dns_cache_hits_total",), 4.0)
            async with serving(path) as server:
                second = messages_of(
                    await receive(server, lambda got: asked() in got and any(isinstance(one, CounterDelta) for one in got))
                )
        counted = [one.value for one in first + second if isinstance(one, CounterDelta)]
        assert seen() in first
        assert counted == [3.0, 4.0]

    asyncio.run(main())


def test_levels_are_told_anew_to_a_control_that_was_started_anew(tmp_path):
    async def main():
        path = tmp_path / "courier"
        level = GaugeLevel("hedgerow_proxy_open_tunnels", (), 5.0)
        async with running(make(path)) as courier:
            courier.report_totals({("hedgerow_proxy_open_tunnels",): 5.0})
            for _ in range(2):
                async with serving(path) as server:
                    assert level in messages_of(await receive(server, bool))

    asyncio.run(main())


def test_a_full_queue_drops_the_oldest_observations_and_counts_them_but_no_request(tmp_path):
    async def main():
        path = tmp_path / "courier"
        courier = make(path, limit=10)
        courier.send(asked())
        for number in range(25):
            courier.send(seen(f"host-{number}.example"))
        assert courier.dropped == 15
        async with serving(path) as server, running(courier):
            got = messages_of(await receive(server, lambda got: len(got) == 12))
        assert asked() in got
        assert CounterDelta(DROPPED_METRIC, ("dns",), 15.0) in got
        assert [one.host for one in got if isinstance(one, Observation)] == [f"host-{number}.example" for number in range(15, 25)]

    asyncio.run(main())


def test_totals_become_deltas_also_when_a_part_begins_again():
    courier = EventSender("unused", "dns-0", "dns")
    hits = ("hedgerow_dns_cache_hits_total",)
    for total, delta in ((5.0, 5.0), (5.0, 0.0), (8.0, 3.0), (2.0, 2.0)):
        courier.report_totals({hits: total})
        assert sum(one.value for one in courier._take_batch()) == delta


def test_a_control_that_does_not_read_never_makes_the_worker_wait(tmp_path):
    """The server accepts and then reads nothing: the socket's buffer fills, the queue fills, and `send` stays as quick as before."""

    async def main():
        accepted = []

        async def accept(_reader, writer):
            accepted.append(writer)

        server = await asyncio.start_unix_server(accept, str(tmp_path / "courier"), limit=1)
        longest = 0.0
        async with running(make(tmp_path / "courier", limit=2000)) as courier:
            started = time.perf_counter()
            number = 0
            while time.perf_counter() - started < 1.0:
                before = time.perf_counter()
                for _ in range(100):
                    courier.send(seen(f"host-{number}.example" + "x" * 200))
                    number += 1
                longest = max(longest, time.perf_counter() - before)
                await asyncio.sleep(0)
            assert accepted
            assert courier.dropped > 0
            assert len(courier._observations) <= 2000
        # 100 appends; a blocked write would hold them for as long as nobody reads.
        assert longest < 2.0
        server.close()
        for writer in accepted:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    asyncio.run(main())


def test_twenty_thousand_events_arrive_in_order_and_complete(tmp_path):
    async def main():
        async with serving(tmp_path / "courier") as server, running(make(tmp_path / "courier")) as courier:
            for number in range(20_000):
                courier.send(seen(f"{number}.example"))
            got = []
            async with asyncio.timeout(30):
                async for delivery in server.deliveries():
                    got.extend(delivery.messages)
                    if len(got) >= 20_000:
                        break
        assert [one.host for one in got] == [f"{number}.example" for number in range(20_000)]
        assert courier.dropped == 0

    asyncio.run(main())


def test_the_courier_runs_in_a_process_that_is_killed(tmp_path):
    """kill -9 of the worker: what it had sent is there, and the server goes on with the others."""

    async def main():
        path = tmp_path / "courier"
        async with serving(path) as server:
            child = os.fork()
            if child == 0:
                asyncio.set_event_loop(None)
                os._exit(_send_and_hang(path))
            got = messages_of(await receive(server, bool))
            os.kill(child, 9)
            await asyncio.to_thread(os.waitpid, child, 0)
            assert got == [seen()]
            async with running(make(path)) as courier:
                courier.send(asked())
                assert asked() in messages_of(await receive(server, lambda got: asked() in got))

    asyncio.run(main())


def _send_and_hang(path):
    import socket

    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(path))
        line.sendall(encode(WorkerHello("gate-1", "gate")) + encode(seen()) + b'{"observation": {"half')
        time.sleep(30)
    return 0


def test_a_worker_that_ends_together_with_control_ends(tmp_path):
    """Told to stop in any moment of a connection's end, the courier stops."""

    async def main(pauses: int) -> None:
        path = tmp_path / f"{pauses}.sock"
        server = EventReceiver(path)
        await server.start()
        courier = make(path)
        task = asyncio.create_task(courier.run())
        courier.send(seen())
        async with asyncio.timeout(30):
            await receive(server, bool, 30.0)
            await server.close()
            for _ in range(pauses):
                await asyncio.sleep(0.001)
            task.cancel()
            await asyncio.wait([task])

    for pauses in range(15):
        asyncio.run(main(pauses))
