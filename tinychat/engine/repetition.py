"""Noticing that a model says the same thing over and over, as small ones like to do."""

LONGEST = 64  # tokens of one passage
TIMES = 4  # it comes in a row before that counts
LEAST = 32  # tokens in all, so that a short line of dashes is none


class RepetitionGuard:
    """Watches one answer's tokens.

    Counting equal n-grams wherever they stand would end a play by characters at the fourth
    "KING HENRY:", so only a passage that follows upon itself counts.
    """

    def __init__(self) -> None:
        self._ids: list[int] = []
        self._equal = [0] * (LONGEST + 1)  # [n]: how many newest tokens equal those n before them

    def push(self, token: int) -> bool:
        """Take the next token; True once the newest ones are one passage TIMES in a row."""
        ids, equal = self._ids, self._equal
        for n in range(1, min(len(ids), LONGEST) + 1):
            equal[n] = equal[n] + 1 if ids[-n] == token else 0
        ids.append(token)
        if len(ids) < LEAST:
            return False
        return any(n + count >= max(TIMES * n, LEAST) for n, count in enumerate(equal) if count)
