"""What the keys and the mouse do to the charts of a screen, one run's or several compared."""

from collections.abc import Sequence
from dataclasses import replace

from textual.screen import Screen

from tinychat.watch.history import History
from tinychat_monitor.widgets import chart_options as views
from tinychat_monitor.widgets.chart import Chart, ChartOptions


class ChartKeys(Screen[None]):
    """A screen whose charts are all seen in one way; `charts` and `histories` are its own."""

    view: ChartOptions = ChartOptions()

    def charts(self) -> Sequence[Chart]:
        """The charts, the one that is exported first."""
        raise NotImplementedError

    def histories(self) -> list[History]:
        """The runs that are drawn, the main one first."""
        raise NotImplementedError

    def draw_charts(self) -> None:
        """Draw the charts in the view as it is now."""
        raise NotImplementedError

    def see(self, view: ChartOptions) -> None:
        """Look at the charts in this way from now on."""
        if view != self.view:
            self.view = view
            self.draw_charts()

    def action_toggle_log_x(self) -> None:
        """Logarithmic x axis, or back."""
        self.see(views.log_x_toggled(self.view))

    def action_toggle_log_y(self) -> None:
        """Logarithmic y axis, or back."""
        self.see(replace(self.view, log_y=not self.view.log_y))

    def action_next_axis(self) -> None:
        """x in steps, tokens or time."""
        self.see(views.next_axis(self.view, self.histories()))

    def action_next_smoothing(self) -> None:
        """The next weight of the moving average."""
        self.see(views.next_smoothing(self.view))

    def action_zoom_in(self) -> None:
        """Twice as close."""
        self.see(views.zoomed(self.view, self.histories()))

    def action_zoom_out(self) -> None:
        """Half as close."""
        self.see(views.zoomed(self.view, self.histories(), 0.5))

    def action_zoom_all(self) -> None:
        """The whole run."""
        self.see(views.whole_run(self.view))

    def action_next_zoom(self) -> None:
        """All, the last half, the last 10%, the last 1%."""
        self.see(views.next_zoom(self.view, self.histories()))

    def action_pan_left(self) -> None:
        """To earlier steps."""
        self.see(views.panned(self.view, self.histories(), -0.25))

    def action_pan_right(self) -> None:
        """To later steps."""
        self.see(views.panned(self.view, self.histories(), 0.25))

    def action_toggle_crosshair(self) -> None:
        """The crosshair, or none; the chart takes the focus, so that left and right move it."""
        self.see(views.crosshair_toggled(self.view, self.histories()))
        if self.view.crosshair is not None:
            self.charts()[0].focus()

    def action_move_crosshair(self, columns: int) -> None:
        """The crosshair to the left or right."""
        width = max(10, self.charts()[0].size.width)
        self.see(views.crosshair_moved(self.view, self.histories(), columns, width))

    def action_toggle_clip(self) -> None:
        """Whether the warm-up decides the y range."""
        self.see(replace(self.view, clip_warm_up=not self.view.clip_warm_up))

    def action_follow_newest(self) -> None:
        """Whether a zoomed view moves with the newest step."""
        self.see(views.followed(self.view, self.histories()))

    def action_export(self) -> None:
        """Write the chart in the focus, or else the first one, to a file."""
        from tinychat_monitor.screens.export import ExportScreen

        chart = self.focused if isinstance(self.focused, Chart) else self.charts()[0]
        self.app.push_screen(ExportScreen(chart))

    def on_chart_zoom(self, message: Chart.Zoom) -> None:
        """The mouse chose a part."""
        self.see(views.between(self.view, self.histories(), message.low, message.high))

    def on_chart_crosshair(self, message: Chart.Crosshair) -> None:
        """The mouse points at a step."""
        self.see(replace(self.view, crosshair=message.x))
