"""The tab "API & about": how other programs ask the same models, and what this page never does."""

import gradio as gr

_TEXT = """\
## The same models for your programs

This server speaks OpenAI's API beside the page, with the same engine:

```
curl HERE/v1/chat/completions -H 'Content-Type: application/json' \\
  -d '{"model": "RUN@latest", "messages": [{"role": "user", "content": "Hello!"}]}'
```

- `GET /v1/models` lists every run and checkpoint: `RUN`, `RUN@best`, `RUN@latest`, `RUN@300`.
- `POST /v1/chat/completions` answers a conversation, `POST /v1/completions` continues a text. Both
  stream, and take `seed`, `stop`, `n`, `logprobs`, `top_k`, `min_p` and `repetition_penalty`.
- For OpenAI's own Python client: `OpenAI(base_url="HERE/v1", api_key="none")`.
- `tinychat serve RUN` is the API alone; `tinychat chat RUN` is a chat in the terminal.

## What this page does and does not

- Nothing leaves this machine: no fonts, scripts or counters from elsewhere, no telemetry.
- Conversations, ratings and votes are plain JSON lines in `.chats/` beside your runs. Deleting one
  moves its file to `.chats/deleted/`.
- A run that trains is only read: chatting changes no bit of it.
- The rules of sampling apply in this order: repetition penalty, temperature, top-k, top-p, min-p.
"""


def build_about(page: gr.Blocks) -> None:
    """The tab, drawn where this is called. The browser knows best how it reaches this server."""
    text = gr.Markdown(_TEXT, elem_classes=["tc-prose"])
    js = "(text) => text.replaceAll('HERE', location.origin)"
    page.load(None, text, text, js=js, api_visibility="private")
