"""A screen that looks at files in a thread, again and again, while it is the one on top."""

from dataclasses import replace
from typing import Generic, TypeVar

from textual import work
from textual.binding import ActiveBinding, Binding
from textual.message import Message
from textual.screen import Screen
from textual.timer import Timer

from tinychat_monitor.keys import key_of, steers
from tinychat_monitor.options import options_of

SECONDS_BETWEEN_LOOKS = 0.5
TURNS_AT_REST = 3  # between looks at what does not change

Seen = TypeVar("Seen")


class LookingScreen(Screen[None], Generic[Seen]):
    """Calls `look` in a thread twice a second and hands what it returns to `show`; once a second
    where all is at rest.

    Looks never overlap, however slow the disk, and end while another screen covers this one; a
    question in front of it covers nothing.
    """

    class Looked(Message):
        """A look is done."""

        def __init__(self, seen: object) -> None:
            super().__init__()
            self.seen = seen

    def __init__(self) -> None:
        super().__init__()
        self._looking = False
        self._on_top = True
        self._turns = 0
        self._timer: Timer | None = None

    def look(self) -> Seen:
        """Read, in a thread. Touches no widget and raises nothing for what stands in files."""
        raise NotImplementedError

    def show(self, seen: Seen) -> bool:
        """Draw what was seen; True if there is more to read at once."""
        raise NotImplementedError

    def at_rest(self) -> bool:
        """Whether nothing that is shown goes on, so that fewer looks will do."""
        return False

    def on_mount(self) -> None:
        self._timer = self.set_interval(SECONDS_BETWEEN_LOOKS, self._take_turn)
        self.look_now()

    def on_screen_suspend(self) -> None:
        if self.app.screen.is_modal:
            return
        self._on_top = False
        if self._timer is not None:
            self._timer.pause()

    def on_screen_resume(self) -> None:
        self._on_top = True
        if self._timer is not None:
            self._timer.resume()
        if self.is_mounted:
            self.look_now()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """With --readonly whatever asks something of a trainer is taken away."""
        return not (steers(action) and options_of(self).readonly)

    @property
    def active_bindings(self) -> dict[str, ActiveBinding]:
        """Every key that works here, and which of them the footer shows."""
        return {
            key: active._replace(
                binding=replace(
                    active.binding,
                    show=self.in_footer(active.binding),
                    description=self.label_of(active.binding),
                )
            )
            for key, active in super().active_bindings.items()
        }

    def in_footer(self, binding: Binding) -> bool:
        """Whether the footer has room for a key, and a use."""
        key = key_of(binding.id)
        return binding.show and (key is None or (key.footer or 0) <= self.size.width)

    def label_of(self, binding: Binding) -> str:
        """What the footer calls a key now."""
        return binding.description

    def on_resize(self) -> None:
        self.refresh_bindings()

    def _take_turn(self) -> None:
        self._turns += 1
        if not self.at_rest() or self._turns % TURNS_AT_REST == 0:
            self.look_now()

    def look_now(self) -> None:
        """Begin a look, unless one is going on."""
        if not self._looking:
            self._looking = True
            self._look_in_thread()

    @work(thread=True)
    def _look_in_thread(self) -> None:
        self.post_message(self.Looked(self.look()))

    def on_looking_screen_looked(self, message: Looked) -> None:
        self._looking = False
        if not self.is_mounted:
            return
        more = self.show(message.seen)  # type: ignore[arg-type]
        if more and self._on_top:
            self.look_now()
