"""So many clients that ask one after the other question, for so many seconds: what came back.

python benchmarks/load.py http://127.0.0.1:8000 --clients 200 --seconds 30
"""

import argparse
import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

QUESTIONS = ("cut the onion", "spin the red ball", "slide the blue star", "knit a scarf")


@dataclass
class Load:
    """How the requests fared: answers by status (or error), and their seconds."""

    answers: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        times = sorted(self.seconds)
        middle, late = (times[int(len(times) * share)] for share in (0.5, 0.99))
        return f"{dict(self.answers)}; median {middle:.3f} s, 99 % within {late:.3f} s"


async def ask_for(
    url: str, clients: int, seconds: float, questions: Sequence[str] = QUESTIONS
) -> Load:
    """Each client keeps one connection; a request that was begun is waited for."""
    load, until = Load(), time.perf_counter() + seconds
    place = urlsplit(url)

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        while time.perf_counter() < until:
            query = urlencode({"q": questions[number % len(questions)], "k": 1 + number % 20})
            started = time.perf_counter()
            writer.write(f"GET /api/search?{query} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            await reader.readexactly(int(head.split("content-length: ")[1].split("\r\n")[0]))
            load.answers[head.split()[1]] += 1
            load.seconds.append(time.perf_counter() - started)
            number += 1
        writer.close()

    for error in await asyncio.gather(*map(client, range(clients)), return_exceptions=True):
        if error:
            load.answers[type(error).__name__] += 1
    return load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--questions", nargs="+", default=QUESTIONS)
    given = parser.parse_args()
    print(asyncio.run(ask_for(given.url, given.clients, given.seconds, given.questions)))


if __name__ == "__main__":
    main()
