"""Which of Gradio's routes the page needs; the gate lets no other one through.

A test walks the routes that the installed Gradio really has: one that stands in neither list is
news, and somebody has to decide.
"""

OPEN = (
    "GET /",
    "HEAD /",
    "GET /theme.css",
    "GET /favicon.ico",
    "GET /assets/*",
    "GET /static/*",
    "GET /gradio_api/app_id",  # whether the server is another one, after it was away
    "GET /gradio_api/heartbeat/*",
    "GET /gradio_api/queue/data",
    "POST /gradio_api/queue/join",
    "POST /gradio_api/cancel",
    "POST /gradio_api/run/predict",  # events that must not wait in a queue: stop
)
"""The page's own doings: its files, its events and their results."""

CLOSED = (
    # other ways to call what the page calls, and to read how
    "GET /config",
    "GET /gradio_api/info",
    "GET /gradio_api/openapi.json",
    "GET /gradio_api/deep_link",
    "GET /gradio_api/queue/status",
    "GET /gradio_api/startup-events",
    "GET /gradio_api/theme.css",
    "GET /gradio_api/call/",
    "POST /gradio_api/api/",
    "POST /gradio_api/call/",
    "POST /gradio_api/run/",
    "POST /gradio_api/reset",
    "POST /gradio_api/component_server",
    "POST /gradio_api/process_recording",
    # files in, files out, and fetching from elsewhere
    "POST /gradio_api/upload",
    "GET /gradio_api/upload_progress",
    "GET /gradio_api/file",
    "HEAD /gradio_api/file",
    "GET /gradio_api/proxy=",
    "HEAD /gradio_api/proxy=",
    "GET /gradio_api/custom_component/",
    "GET /gradio_api/stream/",
    "POST /gradio_api/stream/",
    "GET /svelte/",
    # logins, monitors, editors and histories of Gradio's own
    "POST /login",
    "GET /logout",
    "GET /gradio_api/login_check",
    "GET /gradio_api/token",
    "GET /gradio_api/user",
    "GET /gradio_api/runs",
    "GET /gradio_api/dev/reload",
    "GET /gradio_api/vibe-code",
    "POST /gradio_api/vibe-",
    "POST /gradio_api/undo-vibe-edit",
    "GET /monitoring",
    "GET /manifest.json",
    "GET /pwa_icon",
    "GET /robots.txt",
)
"""What Gradio has besides and nobody here needs: each is the beginning of some."""
