"""Both fast servers in a process of their own: prints the shop's address and the audience's, ends with its input.

python -m bench.servers ORDERS
"""

import asyncio
import gc
import sys

from bench.audience import Audience
from bench.serving import Server
from bench.shop import Shop


async def serve(orders: int) -> None:
    servers = [Server(Shop(orders)), Server(Audience())]
    gc.freeze()  # the rows stay: nobody need look through them again and again
    print(*[await server.listen() for server in servers], flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
