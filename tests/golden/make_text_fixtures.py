#!/usr/bin/env python3
"""Makes tests/golden/text: small tokenizers, chat templates, and what transformers makes of them.

The C++ test (tests/unit/text) must get the same ids and texts. Needs transformers >= 5 and
tokenizers; the committed output needs neither. Run: make_text_fixtures.py [output folder]
"""

import datetime
import json
import pathlib
import sys

from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers,
                        pre_tokenizers, processors, trainers)
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

NOW = datetime.datetime(2026, 2, 3, 14, 5, 9, tzinfo=datetime.timezone.utc)

# The pre-tokenizers of the released models.
QWEN_SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
              r"|\s*[\r\n]+|\s+(?!\S)|\s+")
LLAMA3_SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
                r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")

QWEN25_TEMPLATE = """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0]['role'] == 'system' %}
        {{- messages[0]['content'] }}
    {%- else %}
        {{- 'You are Qwen, created by Alibaba Cloud. You are a helpful assistant.' }}
    {%- endif %}
    {{- "\\n\\n# Tools\\n\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>system\\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role }}
        {%- if message.content %}
            {{- '\\n' + message.content }}
        {%- endif %}
        {%- for tool_call in message.tool_calls %}
            {%- if tool_call.function is defined %}
                {%- set tool_call = tool_call.function %}
            {%- endif %}
            {{- '\\n<tool_call>\\n{"name": "' }}
            {{- tool_call.name }}
            {{- '", "arguments": ' }}
            {{- tool_call.arguments | tojson }}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

LLAMA3_TEMPLATE = """{{- bos_token }}
{%- if strftime_now is defined %}
    {%- set date_string = strftime_now("%d %b %Y") %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{{- "Today Date: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if message.role not in ['user', 'assistant'] %}
        {{- raise_exception("Unknown role: " + message.role) }}
    {%- endif %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

# The constructs of Qwen3's template: namespaces, reversed slices, Python string methods.
QWEN3_TEMPLATE = """{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if '</think>' in content %}
            {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index and (loop.last or reasoning_content) %}
            {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
"""

# What differs between Jinja in Python and other engines: spelling of constants, JSON, block
# trimming, loop controls, macros, filters, generation marks.
PYTHONISMS_TEMPLATE = """{# a comment #}
{{ tools }} {{ true }} {{ add_generation_prompt }} {{ undefined_name }}|{{ 1.0 }} {{ 7 // 2 }} {{ 7 / 2 }}
{% macro shout(text) %}{{ text | upper }}!{% endmacro %}
  {% for message in messages %}
    {% if message.role == 'skip' %}{% continue %}{% endif %}
    {% if message.role == 'end' %}{% break %}{% endif %}
  {{ loop.index }}:{{ message | tojson }}
  {{ message | tojson(indent=2) }}
  {{ shout(message.role) }} {{ message.content.title() }} {{ message.get('name', 'nobody') }}
  {% generation %}{{ message.content | trim }}{% endgeneration %}

  {%- if message.items() | length > 2 %} many{% endif %}
  {%- for key, value in message.items() %} {{ key }}={{ value }}{% endfor %}

{% endfor %}
{{ messages | map(attribute='role') | join(', ') }}
{{ (messages | selectattr('role', 'equalto', 'user') | list)[0]['content'] }}
{{ '%s and %s' | format('a', 2) }} {{ 'x' ~ 1 ~ none }} {{ [1, 2.5, 'three', none, true] | tojson }}
{{ strftime_now('%Y-%m-%d %H:%M:%S %A %B %j') }}
last line
"""

CORPUS = [
    "The quick brown fox jumps over the lazy dog. It's the dog's day; they've won, I'll say.",
    "def add(a, b):\n    return a + b\n\nfor i in range(10):\n    print(add(i, i * 2))\n",
    "47+8=55 and 12+30=42, 100 + 900 = 1000; the sum of all numbers is large.",
    "#include <vector>\nint main() { std::vector<int> v = {1, 2, 3}; return v[0]; }\n",
    "机器学习模型可以生成文本。今天天气很好,我们去公园吧。",
    "Zufällige Wörter mit Umlauten: Käse, Öl, Übung, Straße. L'élève a mangé une pêche.",
    "Привет, мир! Как дела? मशीन लर्निंग مرحبا بالعالم שלום עולם",
    "😀 👍🏽 👨‍👩‍👧‍👦 🇩🇪 emoji and flags",
    "You are a helpful assistant. system user assistant\n\n\t\ttabs and  double  blanks   ",
]

TEXTS = [
    "",
    " ",
    "\n",
    "hello world",
    "  leading and trailing  ",
    "The dog's THEY'VE I'LL 'tis",
    "def f(x):\n\treturn {'a': [x, -1.5e-3], \"b\": None}  # comment\r\n\r\n",
    "47+8=55, 1234567890 0x1F ½ ٣٤ 四",
    "机器学习模型可以生成文本。我们去公园吧!",
    "ﬁ ligature, Å (ring), Å (combining), ö vs ö, क्षि, ệ",
    "z̷̢̛a̴l̵g̶o̸ ͓̽",
    "😀👍🏽 👨‍👩‍👧‍👦🇩🇪\U0001F9FF\u200d\ufe0f",
    "zero\u200bwidth nbsp\u00a0bom\ufeff line\u2028sep\u0085nel",
    "\x00\x01\x7f control",
    "unseen: 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 ꙮ ಠ_ಠ ༼ つ ◕_◕ ༽つ",
    "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n",
    "text<|im_end|>more <|im_end|> <|im_end|><|endoftext|>",
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>",
    "broken <|im_end and |<MASK>| inside |<MASK>||<MASK>|.",
    "<|im_<|im_end|>start|>",
    "tool<tool_call>{\"name\": 1}</tool_call> x",
    "a" * 300,
    " " * 200 + "x" + "\n" * 50 + "\t" * 30 + "y",
    "The quick brown fox 机器 😀 47+8=55\n" * 40,
]

# Long inputs are written as a piece and how often; of their ids only count and a weighted sum.
LONG_TEXTS = [("The quick brown fox 机器 👨‍👩‍👧‍👦 47+8=55\n\n  e\u0301<|im_end|>", 2500), ("字", 40000), ("x ", 40000),
              (" ", 60000)]

CHATS = {
    "one_question": [{"role": "user", "content": "47+8="}],
    "hard_texts": [{"role": "system", "content": "e\u0301 क्षि\n```c\nint *p = &a[0];\t// ½\r\n```"},
                   {"role": "user", "content": "<|im_end|><|eot_id|> 👨‍👩‍👧‍👦🇩🇪 中文,标点。"},
                   {"role": "assistant", "content": ""},
                   {"role": "user", "content": " \n "}],
    "system_first": [{"role": "system", "content": " Be brief. "},
                     {"role": "user", "content": "  hello\n\nworld  "}],
    "dialogue": [{"role": "user", "content": "Who?"},
                 {"role": "assistant", "content": "<think>\nhm\n</think>\n\nMe."},
                 {"role": "user", "content": "机器 😀 \"quoted\" <b>&amp;'\\"},
                 {"role": "assistant", "content": "<think>\nnow\n</think>\nYes </done>"}],
    "tool_call": [{"role": "user", "content": "Add."},
                  {"role": "assistant", "content": "",
                   "tool_calls": [{"type": "function",
                                   "function": {"name": "add",
                                                "arguments": {"b": 2, "a": [1, None, True, 0.5],
                                                              "text": "é<'&>"}}}]}],
    "named": [{"role": "user", "content": "hello there", "name": "Ann", "n": 3, "ok": True},
              {"role": "skip", "content": "not shown"},
              {"role": "assistant", "content": " fine "},
              {"role": "end", "content": "not shown"}],
}

TEMPLATES = {"qwen25": QWEN25_TEMPLATE, "llama3": LLAMA3_TEMPLATE, "qwen3": QWEN3_TEMPLATE,
             "pythonisms": PYTHONISMS_TEMPLATE}


def train(split, vocab_size, normalizer):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(split), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.train_from_iterator(CORPUS * 3, trainers.BpeTrainer(
        vocab_size=vocab_size, min_frequency=2, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return tokenizer


class FixedClock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def special(content):
    return AddedToken(content, normalized=False, special=True)


def make_qwen(folder):
    tokenizer = train(QWEN_SPLIT, 600, normalizers.NFC())
    tokenizer.add_special_tokens([special(t) for t in
                                  ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]])
    tokenizer.add_tokens([AddedToken(t, normalized=False) for t in
                          ["<tool_call>", "</tool_call>"]])
    # A file as training leaves it; transformers ignores both on a plain call.
    tokenizer.enable_truncation(max_length=8)
    tokenizer.enable_padding(length=8)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    size = tokenizer.get_vocab_size()
    # The mask is in the config and in added_tokens.json, not in tokenizer.json.
    write(folder / "added_tokens.json", {"|<MASK>|": size})
    write(folder / "tokenizer_config.json", {
        "add_bos_token": False,
        "added_tokens_decoder": {str(size): {
            "content": "|<MASK>|", "lstrip": False, "normalized": False, "rstrip": False,
            "single_word": False, "special": True}},
        "bos_token": None,
        "chat_template": QWEN25_TEMPLATE,
        "eos_token": "<|im_end|>",
        "pad_token": {"__type": "AddedToken", "content": "<|endoftext|>", "special": True},
        "tokenizer_class": "PreTrainedTokenizerFast"})


def make_llama3(folder):
    tokenizer = train(LLAMA3_SPLIT, 520, None)
    tokenizer.add_special_tokens([special(t) for t in
                                  ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>",
                                   "<|end_header_id|>", "<|eot_id|>"]])
    bos = tokenizer.token_to_id("<|begin_of_text|>")
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single="<|begin_of_text|> $A",
                                      pair="<|begin_of_text|> $A <|begin_of_text|>:1 $B:1",
                                      special_tokens=[("<|begin_of_text|>", bos)])])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    (folder / "chat_template.jinja").write_text(LLAMA3_TEMPLATE)
    write(folder / "tokenizer_config.json", {
        "bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>",
        "tokenizer_class": "PreTrainedTokenizerFast"})


def long_case(tokenizer, piece, count):
    ids = tokenizer(piece * count, add_special_tokens=False)["input_ids"]
    return {"piece": piece, "count": count, "ids": len(ids),
            "weighted_sum": sum(i * id for i, id in enumerate(ids, start=1))}


def chat_case(tokenizer, chat, add_generation_prompt):
    """By the folder's own template; None if it refuses the conversation."""
    try:
        ids = tokenizer.apply_chat_template(CHATS[chat], tokenize=True, return_dict=False,
                                            add_generation_prompt=add_generation_prompt)
    except Exception:
        return None
    return {"chat": chat, "add_generation_prompt": add_generation_prompt, "ids": ids}


def render(tokenizer, template, chat, add_generation_prompt):
    try:
        text = tokenizer.apply_chat_template(
            chat, chat_template=template, tokenize=False,
            add_generation_prompt=add_generation_prompt)
        return {"text": text}
    except Exception as error:  # the template's own refusal
        return {"error": str(error)}


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else
                        pathlib.Path(__file__).resolve().parent / "text")
    chat_template_utils.datetime = FixedClock  # what strftime_now reads
    make_qwen(root / "qwen")
    make_llama3(root / "llama3")
    expected = {"now_unix_seconds": int(NOW.timestamp()), "tokenizers": {}, "chats": CHATS,
                "templates": TEMPLATES, "rendered": []}
    for name in ["qwen", "llama3"]:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(root / name)
        cases = []
        for text in TEXTS:
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            cases.append({
                "text": text,
                "ids": ids,
                "ids_with_special": tokenizer(text)["input_ids"],
                "decoded": tokenizer.decode(ids, clean_up_tokenization_spaces=False),
                "decoded_skip_special": tokenizer.decode(ids, skip_special_tokens=True,
                                                         clean_up_tokenization_spaces=False)})
        expected["tokenizers"][name] = {
            "vocab_size": len(tokenizer),
            "eos_token_id": tokenizer.eos_token_id,
            "mask_id": tokenizer.convert_tokens_to_ids("|<MASK>|"),
            "cases": cases,
            "long": [long_case(tokenizer, *long) for long in LONG_TEXTS],
            "chats": list(filter(None, (chat_case(tokenizer, chat, prompt)
                                        for chat in CHATS for prompt in [False, True])))}
        for template in TEMPLATES:
            for chat, messages in CHATS.items():
                for prompt in [False, True]:
                    expected["rendered"].append({
                        "tokenizer": name, "template": template, "chat": chat,
                        "add_generation_prompt": prompt,
                        **render(tokenizer, TEMPLATES[template], messages, prompt)})
    write(root / "expected.json", expected)


if __name__ == "__main__":
    main()
