"""Queries that come at the same time are answered together: one pass over the vectors for all."""

import asyncio
import logging
from types import TracebackType

from howto100m.find.finder import Finder, Found, Query

log = logging.getLogger(__name__)

LARGEST = 32
"""Queries answered together, at most: a score is held for each of them and each clip."""

Asked = tuple[Query, asyncio.Future[list[Found]]]


class Batches:
    """The queue before an index, open while its block runs. One thread searches at a time."""

    def __init__(self, finder: Finder):
        self.finder = finder
        self._waiting: asyncio.Queue[Asked] = asyncio.Queue()
        self._worker: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Batches":
        self._worker = asyncio.create_task(self._work())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._worker:
            self._worker.cancel()

    async def ask(self, query: Query) -> list[Found]:
        """The answer to a query, which waits for its turn. Raises what the search raises."""
        answer: asyncio.Future[list[Found]] = asyncio.get_running_loop().create_future()
        await self._waiting.put((query, answer))
        return await answer

    async def _work(self) -> None:
        while True:
            batch = [await self._waiting.get()]
            while len(batch) < LARGEST and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            wanted = [(query, answer) for query, answer in batch if not answer.cancelled()]
            try:
                found = await asyncio.to_thread(self.finder.find, [query for query, _ in wanted])
            except Exception as error:
                for _, answer in wanted:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            for (_, answer), clips in zip(wanted, found, strict=True):
                if not answer.done():
                    answer.set_result(clips)
