"""Webhooks: 100 a second for a minute, each on disk before its answer; then a kill -9, and everything is there.

    python bench/webhooks.py [SECONDS] [A_SECOND]

A real `cartwire run` on loopback, with a simulated shop and a simulated audience in this process; the orders
come by webhook alone, from a process of their own. Printed: answers by status, how long the slowest percent took, what the kill lost, what
the worker weighs when idle, and how long an order takes to the audience.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import httpx

from connectors.esps.mailchimp import simulator as mailchimp
from connectors.simulation import made_up_order
from connectors.stores.woocommerce import simulator as woocommerce
from connectors.stores.woocommerce.simulated_rows import order_row
from tests.sync.conftest import CONFIGURATION, FIRST, MAPPING
from tests.sync.servers import serve

SECRET = "hook-secret-0123"
PORT = 18_090
PEOPLE = 500


def configure(folder: Path, shop: str, news: str) -> None:
    (folder / "mappings").mkdir()
    (folder / "mappings" / "crm.yaml").write_text(MAPPING)
    text = CONFIGURATION.format(
        timezone="Europe/Paris", **woocommerce.SETTINGS, **mailchimp.SETTINGS, shop=shop, news=news
    )
    text = text.replace("    type: woocommerce\n", f"    type: woocommerce\n    webhook_secret: {SECRET}\n")
    text += f"    schedule: daily at 03:00\n    limits: off\nweb:\n  listen: 127.0.0.1:{PORT}\n"
    (folder / "cartwire.yaml").write_text(text)


def start(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "sync.cli", "--dir", str(folder), "run"]
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(command, stderr=log)


async def until_ready(client: httpx.AsyncClient) -> None:
    for _ in range(600):
        try:
            if (await client.get("/readyz")).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        await asyncio.sleep(0.1)
    raise SystemExit("the worker did not become ready")


async def post(client: httpx.AsyncClient, row: dict, number: int, email: str) -> tuple[int, float]:
    told = row | {"id": number, "number": str(number), "billing": row["billing"] | {"email": email}}
    body = json.dumps(told).encode()
    signature = base64.b64encode(hmac.digest(SECRET.encode(), body, hashlib.sha256)).decode()
    headers = {"x-wc-webhook-topic": "order.created", "x-wc-webhook-signature": signature}
    began = time.perf_counter()
    answer = await client.post("/webhooks/shop", content=body, headers=headers)
    return answer.status_code, time.perf_counter() - began


async def rush(
    client: httpx.AsyncClient, row: dict, seconds: float, rate: float
) -> dict[int, tuple[int, float]]:
    """Send at an even rate, whatever the answers take."""
    sending: dict[int, asyncio.Task[tuple[int, float]]] = {}
    began = time.perf_counter()
    for number in range(int(seconds * rate)):
        await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
        who = f"buyer{number % PEOPLE}@example.com"
        sending[100_000 + number] = asyncio.create_task(post(client, row, 100_000 + number, who))
    return {number: await task for number, task in sending.items()}


async def rush_elsewhere(
    folder: Path, row: dict, seconds: float, rate: float
) -> dict[int, tuple[int, float]]:
    """Rush in a process of its own: the simulators keep this one busy."""
    (folder / "row.json").write_text(json.dumps(row))
    asked = ["--rush", str(folder), str(seconds), str(rate)]
    rushing = await asyncio.create_subprocess_exec(
        sys.executable, __file__, *asked, stdout=asyncio.subprocess.PIPE
    )
    told, _ = await rushing.communicate()
    return {int(number): tuple(answer) for number, answer in json.loads(told).items()}


async def only_rush(folder: Path, seconds: float, rate: float) -> None:
    row = json.loads((folder / "row.json").read_text())
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{PORT}", timeout=30) as client:
        print(json.dumps(await rush(client, row, seconds, rate)))


def memory(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def main(seconds: float, rate: float) -> None:
    shop = woocommerce.simulator([made_up_order(number, FIRST) for number in range(1, 31)])
    news = mailchimp.simulator(batch_seconds=0)
    folder = Path(tempfile.mkdtemp())
    with serve(shop) as shop_at, serve(news) as news_at:
        configure(folder, shop_at.url, news_at.url)
        backfill = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sync.cli", "--dir", str(folder), "backfill", "crm"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        await backfill.wait()
        worker = start(folder)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{PORT}", timeout=30) as client:
            await until_ready(client)
            await asyncio.sleep(3)
            before, weighs = cpu(worker.pid), memory(worker.pid)
            await asyncio.sleep(10)
            idle = (cpu(worker.pid) - before) / 10
            print(f"idle                {weighs:.0f} MB, {idle:.1%} of a core")
            row = order_row(shop.state, 1)
            began = time.perf_counter()
            await post(client, row, 99_999, "first@example.com")
            while "first@example.com" not in news.state.contacts:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.02)
            print(f"webhook to audience {time.perf_counter() - began:.1f} s")
            answers = await rush_elsewhere(folder, row, seconds, rate)
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
        report(answers, rate)
        worker = start(folder)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{PORT}", timeout=30) as client:
            await until_ready(client)
            await asyncio.sleep(2)
        worker.terminate()
        worker.wait()
        taken = {number for number, (status, _) in answers.items() if status == 200}
        with closing(sqlite3.connect(folder / "state.db")) as store:
            stored = {int(row[0]) for row in store.execute("SELECT id FROM orders")}
        print(f"after kill -9       {len(taken)} acknowledged, {len(taken - stored)} lost")


def report(answers: dict[int, tuple[int, float]], rate: float) -> None:
    statuses = {status: 0 for status, _ in answers.values()}
    for status, _ in answers.values():
        statuses[status] += 1
    times = sorted(seconds for _, seconds in answers.values())
    cuts = statistics.quantiles(times, n=100)
    print(f"deliveries          {len(answers)} at {rate:.0f} a second: {statuses}")
    print(
        f"answered            half in {cuts[49] * 1000:.0f} ms, 99 % in {cuts[98] * 1000:.0f} ms, "
        f"the slowest in {times[-1] * 1000:.0f} ms"
    )


if __name__ == "__main__" and sys.argv[1:2] == ["--rush"]:
    asyncio.run(only_rush(Path(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])))
elif __name__ == "__main__":
    given = [float(each) for each in sys.argv[1:]]
    asyncio.run(main(*(given + [60.0, 100.0][len(given) :])))
