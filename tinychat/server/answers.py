"""Answers of the engine for an event loop: text as it comes, and what is told about it at the end.

The engine's thread rings, the loop takes. Text is handed on at once when it is the first, and from
then on gathered for a moment, because twenty messages a second read as well as two hundred.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from tinychat.engine import Answer

FLUSH_SECONDS = 0.05

# OpenAI's words for why an answer ended; ours are told beside them.
FINISH = {
    "end": "stop",
    "stop": "stop",
    "repetition": "stop",
    "cancelled": "stop",
    "length": "length",
    "context": "length",
    "deadline": "length",
}


class Bell:
    """Rung in any thread, heard in the loop that made it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Raises RuntimeError once the loop is closed."""
        self._loop.call_soon_threadsafe(self._rung.set)

    async def heard(self) -> None:
        """Until it has been rung since the last time."""
        await self._rung.wait()
        self._rung.clear()


class Answers:
    """The answers to one request, in the order of their choices."""

    def __init__(self, ask: Callable[[Callable[[], None]], Sequence[Answer]]) -> None:
        """`ask` is given what the engine must call when there is news."""
        self._bell = Bell()
        self.answers = ask(self._bell.ring)

    async def pieces(self, flush_seconds: float = FLUSH_SECONDS) -> AsyncIterator[tuple[int, str]]:
        """(which answer, text) as it comes; an empty text when that answer is over.

        Raises EngineError if one failed.
        """
        going = list(range(len(self.answers)))
        while going:
            some = False
            for index in list(going):
                text = self.answers[index].take()
                if text is None:
                    going.remove(index)
                    yield index, ""
                elif text:
                    some = True
                    yield index, text
            if some:
                await asyncio.sleep(flush_seconds)
            elif going:
                await self._bell.heard()

    async def over(self) -> None:
        """Until all are over. Raises EngineError if one failed."""
        async for _ in self.pieces(0):
            pass

    def cancel(self) -> None:
        """End those that are not over."""
        for answer in self.answers:
            answer.cancel()

    def usage(self, prompts: int) -> dict[str, Any]:
        """Tokens and times; `prompts` is how many different prompts the answers belong to.

        Times of several answers: the longest, and the rates together.
        """
        stats = [answer.stats() for answer in self.answers]
        asked = [answer.prompt for answer in self.answers[:: len(self.answers) // prompts]]
        prompt_tokens = sum(len(prompt.ids) for prompt in asked)
        new_tokens = sum(each.new_tokens for each in stats)
        firsts = [s.first_token_seconds for s in stats if s.first_token_seconds is not None]
        rates = [s.tokens_per_second for s in stats if s.tokens_per_second is not None]
        at_once = [s.tokens_per_pass for s in stats if s.tokens_per_pass is not None]
        return {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": new_tokens,
            "total_tokens": prompt_tokens + new_tokens,
            "prompt_tokens_details": {
                "cached_tokens": min(prompt_tokens, sum(each.kept_tokens for each in stats)),
                "dropped_tokens": sum(prompt.dropped_tokens for prompt in asked),
                "dropped_turns": sum(prompt.dropped_turns for prompt in asked),
            },
            "timings": {
                "queued_seconds": _rounded(max(each.queued_seconds for each in stats)),
                "first_token_seconds": _rounded(min(firsts)) if firsts else None,
                "seconds": _rounded(max(each.seconds for each in stats)),
                "tokens_per_second": round(sum(rates), 1) if rates else None,
                "tokens_per_pass": round(max(at_once), 2) if at_once else None,
            },
        }


def finish_of(answer: Answer) -> dict[str, str]:
    """Why a finished answer ended: OpenAI's word and the engine's."""
    assert answer.completion is not None
    reason = answer.completion.finish_reason
    return {"finish_reason": FINISH[reason], "finish_detail": reason}


def _rounded(seconds: float) -> float:
    return round(seconds, 4)
