"""Which of Gradio's routes the page needs; the gate lets no other one through.

A test walks the routes that the installed Gradio really has: one that stands in neither list is
news, and somebody has to decide.
"""

OPEN = (
    "GET /",
    "HEAD /",
    "GET /config",
    "GET /theme.css",
    "GET /assets/*",
    "GET /static/*",
    "GET /svelte/*",
    "GET /favicon.ico",
    "GET /gradio_api/theme.css",
    "GET /gradio_api/heartbeat/*",
    "GET /gradio_api/queue/data",
    "POST /gradio_api/queue/join",
    "POST /gradio_api/run/*",
    "POST /gradio_api/cancel",
    "POST /gradio_api/reset",
    "GET /gradio_api/startup-events",
    "GET /gradio_api/app_id",
)
"""The page's own doings: its files, its configuration, events and their results."""
