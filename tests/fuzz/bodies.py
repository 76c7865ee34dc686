"""Bodies of calls as nobody should send them: every documented parameter with every kind of value."""

from __future__ import annotations

from collections.abc import Iterator

CHAT = (
    "model", "messages", "stream", "temperature", "max_tokens", "top_p", "frequency_penalty", "presence_penalty", "user",
    "top_k", "repetition_penalty", "min_p", "verbosity", "reasoning_effort", "max_completion_tokens", "n", "stop", "seed",
    "logprobs", "top_logprobs", "logit_bias", "tools", "tool_choice", "parallel_tool_calls", "functions", "function_call",
    "response_format", "stream_options", "modalities", "models", "provider", "metadata", "store", "service_tier",
    "prediction", "audio", "thinking", "reasoning", "safety_identifier", "prompt_cache_key", "web_search_options", "plugins",
    "transforms", "cache_control",
)  # fmt: skip
"""Section 3 of the public API, and what the SDKs send besides."""
ODD = (
    "null",
    "true",
    "0",
    "-1",
    "1",
    "1.5",
    "-0.0",
    "1e999",
    "-1e999",
    "NaN",
    "Infinity",
    "9" * 400,
    "-" + "9" * 400,
    "0." + "1" * 400,
    "2147483648",
    "9223372036854775808",
    "18446744073709551616",
    '""',
    '" "',
    '"x"',
    '"\\u0000"',
    '"\\ud800"',
    '"\\ud800x"',
    '"' + "가" * 2_000 + '"',
    "[]",
    "{}",
    "[null]",
    "[[]]",
    "[{}]",
    '[""]',
    '["x","x"]',
    "[1e999]",
    '{"type":null}',
    '{"type":"x"}',
    '{"x":{}}',
    '[{"type":"function"}]',
    '[{"type":"function","function":null}]',
    '[{"type":"function","function":{"name":null}}]',
    '[{"type":"function","function":{"name":"f","parameters":[]}}]',
    '{"type":"function","function":{"name":{}}}',
    '{"type":"json_schema","json_schema":null}',
    '{"type":"json_schema","json_schema":{"schema":[]}}',
    '{"include_usage":"x"}',
    '{"order":[null]}',
    '{"max_price":{"prompt":"x"}}',
    "[" * 63 + "]" * 63,
    "[" * 65 + "]" * 65,
)
MESSAGES = (
    "{}",
    "null",
    '"x"',
    "[]",
    '{"role":null}',
    '{"role":"user"}',
    '{"role":"user","content":null}',
    '{"role":"user","content":1}',
    '{"role":"user","content":[]}',
    '{"role":"user","content":[{}]}',
    '{"role":"user","content":[{"type":"text"}]}',
    '{"role":"user","content":[{"type":"text","text":null}]}',
    '{"role":"user","content":[{"type":"x"}]}',
    '{"role":"user","content":[{"type":"image_url"}]}',
    '{"role":"user","content":[{"type":"image_url","image_url":null}]}',
    '{"role":"user","content":[{"type":"image_url","image_url":"x"}]}',
    '{"role":"user","content":[{"type":"image_url","image_url":{"url":1}}]}',
    '{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:;base64,%%%"}}]}',
    '{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://[","detail":[]}}]}',
    '{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,가"}}]}',
    '{"role":"user","content":[{"type":"input_audio","input_audio":{}}]}',
    '{"role":"user","content":[{"type":"input_audio","input_audio":{"data":1,"format":null}}]}',
    '{"role":"user","content":[{"type":"file","file":{"file_data":"x"}}]}',
    '{"role":"user","content":[{"type":"file","file":7}]}',
    '{"role":"user","content":"x","name":"\\ud83d"}',
    '{"role":"system","content":null}',
    '{"role":"system","content":[{"type":"image_url"}]}',
    '{"role":"assistant"}',
    '{"role":"assistant","content":null,"tool_calls":null}',
    '{"role":"assistant","tool_calls":{}}',
    '{"role":"assistant","tool_calls":[null]}',
    '{"role":"assistant","tool_calls":[{"id":1}]}',
    '{"role":"assistant","tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{"}}]}',
    '{"role":"assistant","tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":null}}]}',
    '{"role":"assistant","tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"[1]"}}]}',
    '{"role":"assistant","tool_calls":[{"id":"1","type":"function","function":{"name":1,"arguments":{}}}]}',
    '{"role":"assistant","function_call":"x"}',
    '{"role":"assistant","function_call":{"name":"f"}}',
    '{"role":"assistant","content":"","reasoning_content":{}}',
    '{"role":"assistant","content":"x","reasoning_details":[{"type":"x"}]}',
    '{"role":"assistant","content":"x","reasoning_details":"x"}',
    '{"role":"assistant","content":[{"type":"thinking"}]}',
    '{"role":"tool"}',
    '{"role":"tool","content":"x"}',
    '{"role":"tool","content":null,"tool_call_id":1}',
    '{"role":"tool","content":[{"type":"image_url","image_url":{"url":"x"}}],"tool_call_id":"1"}',
    '{"role":"function","content":"x"}',
    '{"role":"user","content":"x","weight":1e999}',
    '{"role":"user","content":[{"type":"text","text":"x","y":1e999}]}',
    '{"role":"tool","tool_call_id":"1","name":"f","content":"' + "[" * 20_000 + '"}',
    '{"role":"assistant","tool_calls":[{"id":"1","function":{"name":"f","arguments":"' + '{\\"a\\":' * 20_000 + '"}}]}',
    '{"role":"function","name":null,"content":null}',
    '{"role":"developer","content":[{"type":"text","text":"x"}]}',
)
"""One message of a conversation; what comes before and after it is in order."""

_ASK = '{"role":"user","content":"안녕"}'


def chat(**fields: str) -> bytes:
    """A body with these fields, each JSON as it is."""
    whole = {"model": '"sandbox/echo"', "messages": f"[{_ASK}]", **fields}
    return ("{" + ",".join(f'"{name}":{value}' for name, value in whole.items()) + "}").encode("utf-8", "surrogatepass")


def odd_chats() -> Iterator[bytes]:
    """Every parameter with every odd value, and conversations with one odd message."""
    for name in CHAT:
        for value in ODD:
            yield chat(**{name: value})
    for message in MESSAGES:
        yield chat(messages=f"[{message}]")
        yield chat(messages=f'[{_ASK},{message},{{"role":"user","content":"?"}}]')
