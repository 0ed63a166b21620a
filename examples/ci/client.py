"""The client of the pipeline, with the openai package. Put your own in its place.

run.sh says in CHAT_URL and EMBED_URL where the models are.
"""

from __future__ import annotations

import os

from openai import NotFoundError, OpenAI

MESSAGES = [{"role": "user", "content": "Say hello."}]


def main() -> None:
    # The key is anything: models.yaml asks for none. `env: {VLLM_API_KEY: …}` there would.
    with (
        OpenAI(base_url=os.environ["CHAT_URL"], api_key="none", timeout=60) as chat,
        OpenAI(base_url=os.environ["EMBED_URL"], api_key="none", timeout=60) as embed,
    ):
        chats(chat)
        streams(chat)
        refuses_what_is_not_there(chat)
        embeds(embed)


def chats(client: OpenAI) -> None:
    (model,) = client.models.list()
    answer = client.chat.completions.create(model=model.id, messages=MESSAGES, max_tokens=16)
    (choice,) = answer.choices
    assert choice.message.role == "assistant"
    assert choice.message.content, answer
    assert choice.finish_reason in ("stop", "length"), answer
    assert answer.usage is not None
    assert 0 < answer.usage.completion_tokens <= 16, answer.usage
    print(f"{model.id}: {choice.message.content}")


def streams(client: OpenAI) -> None:
    (model,) = client.models.list()
    pieces = []
    usage = None
    for chunk in client.chat.completions.create(
        model=model.id,
        messages=MESSAGES,
        max_tokens=16,
        stream=True,
        stream_options={"include_usage": True},
    ):
        usage = chunk.usage or usage  # the last one has it, and no choices
        pieces += [choice.delta.content or "" for choice in chunk.choices]
    assert usage is not None
    assert 0 < usage.completion_tokens <= 16, usage
    assert "".join(pieces).strip(), pieces
    print(f"{model.id}: streamed {usage.completion_tokens} tokens")


def refuses_what_is_not_there(client: OpenAI) -> None:
    said = ""
    try:
        client.chat.completions.create(model="no-such-model", messages=MESSAGES)
    except NotFoundError as error:
        said = str(error)
    assert "no-such-model" in said, "a model that is not there has answered"


def embeds(client: OpenAI) -> None:
    (model,) = client.models.list()
    texts = ["a cat", "a dog", "a supervisor"]
    answer = client.embeddings.create(model=model.id, input=texts)
    assert [item.index for item in answer.data] == [0, 1, 2]
    sizes = {len(item.embedding) for item in answer.data}
    assert len(sizes) == 1, sizes  # all of one size, and not empty
    assert sizes.pop() > 0
    assert all(isinstance(x, float) for item in answer.data for x in item.embedding)
    print(f"{model.id}: {len(texts)} embeddings of {len(answer.data[0].embedding)} numbers")


if __name__ == "__main__":
    main()
