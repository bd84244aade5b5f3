"""The command palette: the keys of the screen below it, by name, as far as they apply now."""

from functools import partial

from textual.command import DiscoveryHit, Hit, Hits, Provider

from tinychat_monitor.keys import KEYS, key_of


class KeyCommands(Provider):
    """`training: pause`, `chart: log x` and so on; what a screen switches off is not offered."""

    async def discover(self) -> Hits:
        """Everything that applies."""
        for name, help_text, run in self._commands():
            yield DiscoveryHit(name, run, help=help_text)

    async def search(self, query: str) -> Hits:
        """What fits the letters typed so far."""
        matcher = self.matcher(query)
        for name, help_text, run in self._commands():
            if (score := matcher.match(name)) > 0:
                yield Hit(score, matcher.highlight(name), run, help=help_text)

    def _commands(self) -> list[tuple[str, str, partial[None]]]:
        offered = {}
        for active in self.screen.active_bindings.values():
            key = key_of(active.binding.id)
            if key is not None and active.enabled and key.action not in _USELESS:
                run = partial(self.app.run_action, active.binding.action, active.node)
                offered[key.id] = (f"{key.group}: {key.label.lower()}", key.tooltip, run)
        return [offered[key.id] for key in KEYS if key.id in offered]


_USELESS = ("command_palette", "back", "focus_next", "focus_previous")
