"""Chat templates against Jinja itself, as `transformers` sets it up: the same text for the same conversation, and where
the answers stand in it."""

import json
import shutil
import time

import jinja2
import pytest
from transformers import AutoTokenizer
from transformers.utils.chat_template_utils import _compile_jinja_template

import peers
from tokenizer_models import smollm2_json

TOOLS = [{"type": "function", "function": {"name": "weather", "description": "The \"weather\" of a place; é & <b>",
                                           "parameters": {"type": "object", "properties": {"place": {"type": "string", "enum": ["a", "b"]}}, "required": ["place"]}}}]
CALL = {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "weather", "arguments": {"place": "Köln", "n": [1, 2.5, None, True]}}}]}
CHATS = [
    [{"role": "user", "content": "Hi"}],
    [{"role": "user", "content": " Hi \n"}, {"role": "assistant", "content": "  Hello 🙂\n"}, {"role": "user", "content": "日本?\t"}, {"role": "assistant", "content": "No."}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}],
    [{"role": "user", "content": "a"}, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nb"}, {"role": "user", "content": "c"},
     {"role": "assistant", "content": "<think>\nwell\n</think>\n\nd"}],
    [{"role": "user", "content": "a"}, {"role": "assistant", "reasoning_content": "hm", "content": "b"}],
    [{"role": "system", "content": "s"}, {"role": "user", "content": "Weather?"}, CALL, {"role": "tool", "content": "{\"t\": 3}"}, {"role": "tool", "content": "x"},
     {"role": "assistant", "content": "3 degrees"}],
]
# The language, one construct after the other; `messages` and `tools` are there.
LANGUAGE = [
    "{%- for m in messages -%}\n  {{- m.role | upper }}: {{ m['content'] | trim }}\n{%- if not loop.last %}, {% endif -%}\n{% endfor %}\n\nend\n",
    "{% for m in messages %}\n    {% if m.role == 'user' %}\n  U {{ loop.index0 }}/{{ loop.length }} {{ loop.revindex }}\n    {% elif loop.first %}\nF\n    {% else %}\nE{{ loop.previtem.role }}\n    {%- endif +%}\n{% endfor %}",
    "{% set ns = namespace(found=false, n=0) %}{% for m in messages %}{% if m.role != 'user' %}{% set ns.found = true %}{% endif %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.found }} {{ ns.n }}",
    "{{ messages[::-1] | map(attribute='role') | join('|') }} {{ messages[1:] | length }} {{ messages[-1]['role'][0] }} {{ (messages | first).role }} {{ messages[:1][0].content[1:3] }}",
    "{{ messages | tojson }}\n{{ messages[0] | tojson(indent=4) }} {{ tools | tojson(indent=2) if tools else 'none' }}",
    "{% macro one(m, tag='x', end=true) -%}<{{ tag }}>{{ m.content }}{% if end %}</{{ tag }}>{% endif %}{%- endmacro %}{% for m in messages %}{{ one(m, tag=m.role) }}{{ one(m, end=false) }}{% endfor %}",
    "{% set x %}block {{ messages | length }}{% endset %}{{ x | upper ~ 1 ~ none ~ [1, 'a', 2.0, {'k': 'it\\'s'}] }}{# comment #}  {#- gone -#}  .",
    "{{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 3 ** 2 }} {{ 1 + 2 * 3 - 4 }} {{ 1e3 }} {{ 0.1 + 0.2 }} {{ 1 == 1.0 }} {{ 3 > 2 > 1 }} {{ 'a' < 'b' }} {{ not 1 in [1] }} {{ 5 | string + 'x' }}",
    "{{ 'aXbXc'.split('X') }} {{ ' a  b '.split() }} {{ 'a,b,c'.rsplit(',', 1) }} {{ '--x--'.strip('-') }} {{ 'abc'.replace('b', 'ß').upper() }} {{ 'Hello World'.title() }} {{ 'hELLO wORLD'.capitalize() }} {{ 'x'.startswith(('a', 'x')) }} {{ 'abc'.find('c') }} {{ 'aaa'.count('a') }}",
    "{% for k, v in {'b': 1, 'a': [2]}.items() %}{{ k }}={{ v }} {% endfor %}{% for k, v in {'b': 1, 'a': 2} | dictsort %}{{ k }}{{ v }} {% endfor %}{{ {'b': 1}.get('c', 'no') }} {{ {'a': 1} | items | map('join', '=') | list }} {{ [3, 1, 2] | sort }} {{ ['b', 'A'] | sort | join }} {{ [1, 1, 2] | unique | list }} {{ [1, 2] | sum }} {{ [1, 5, 2] | max }}",
    "{{ missing is defined }}{{ missing | default('d') }}{{ missing }}{{ '' | default('e', true) }}{{ messages is iterable }}{{ messages is string }}{{ 'a' is string }}{{ {} is mapping }}{{ none is none }}{{ 1 is number }}{{ true is boolean }}{{ 4 is even }}{{ 9 is divisibleby 3 }}{{ 1 is not none }}",
    "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}{{ messages | rejectattr('role', 'in', ['user']) | map(attribute='content') | list }}{{ ['a', '', 'b'] | select | list }}{{ [1, 2, 3, 4] | select('odd') | list }}{{ ['a', 'b'] | map('upper') | list }}",
    "{% for i in range(10) if i % 2 %}{% if i == 7 %}{% break %}{% endif %}{% if i == 3 %}{% continue %}{% endif %}{{ i }}{{ loop.cycle('a', 'b') }}{% else %}none{% endfor %}{% for i in [] %}{% else %}empty{% endfor %}{{ range(5, 0, -2) | list }}",
    "{% raw %}{{ not this }}{% endraw %}{% filter upper %}x{{ 1 }}y{% endfilter %}{{ 'one' 'two' }}{{ '\\n\\t\\u00e9\\x41\\\\' }}{{ \"q'\\\"\" }}{{ 'yes' if messages else 'no' }}{{ 'x' if false }}",
    "{{ 'line one\nline two' | indent(2) }}|{{ 'abc' | reverse }}|{{ '3' | int + 1 }}|{{ 'x' | int(7) }}|{{ '2.5' | float }}|{{ 2.567 | round(1) }}|{{ -3 | abs }}|{{ 'a b' | title }}|{{ 'A' | lower }}|{{ '<a&b>' | e }}|{{ 'añb' | length }}|{{ 'añb'[1] }}|{{ 'añb'[::-1] }}",
    "   {%- if true -%}   a   {%- endif %}   \n   {% if true +%}\n b{%+ if true %} c{% endif %}\n{% endif %}\n{{- ' d' -}}\n\n e {{ 'f' -}}   \n\n",
    "{{ strftime_now('%d %b %Y') }}",
    "{% macro f() %}[{{ caller() }}]{% endmacro %}{% macro g(x) %}{{ caller(x, 1) }}{% endmacro %}{% call(x) f() %}<{{ x }}>{% endcall %}{% call(a, b, c=3) g('é') %}{{ a }}{{ b }}{{ c }}{% endcall %}",
    "{% for a in [1, 2] %}{{ a }}{% for b in [] %}{% else %}{% break %}{% endfor %}x{% endfor %}|{% for a in [1, 2] %}{{ a }}{% for b in [] %}{% else %}{% continue %}{% endfor %}x{% endfor %}",
    "{{ 'abcabc'.find('a', 1) }} {{ 'abc'.startswith('b', 1) }} {{ 'abc'.endswith(('x', 'b'), 0, -1) }} {{ 'éaéa'.count('a', 2, 9) }} {{ 'abc'.find('', 4) }} {{ 'abc'.find('', 3) }} {{ 'aéa'.rfind('a', -1) }} {{ 'abcb'.index('b', 2) }} {{ 'aXbXc'.rsplit('X', 1) }} {{ 'aaaaa'.rsplit('aa') }} {{ 'aaaaa'.split('aa') }} {{ 'éxé'.strip('é') }}",
    "{{ 'é😀\x7f' | tojson(ensure_ascii=true) }}{{ {'b': [1], 'a': 'é'} | tojson(false, none, [',', ':'], true) }} {{ 'ff' | int(0, 16) }} {{ '0x1F' | int(base=16) }} {{ '1_000' | int }} {{ '1__0' | int(7) }} {{ ' -2.9 ' | int }} {{ '+-2' | int(5) }}",
    "{{ 9007199254740993 > 9007199254740992 }} {{ 9007199254740993 == 9007199254740992.0 }} {{ 2 ** 60 }} {{ (-1) ** 7 }} {{ 2 ** -1 }} {{ -7 is divisibleby(-1) }} {{ [3, 1.5, -2] | sum }} {{ -5 | abs }} {{ 0 ** 0 }}",
    "{% for i in [1, 1, 2, 2, 1] %}{% if loop.changed(i) %}{{ i }}{% endif %}{% endfor %} {{ 'añbcd'[1:3] }} {{ 'añbcd'[-9:2] }} {{ 'añbcd'[3:1] }} {{ 'añb' | first }}{{ 'añb' | last }} {{ ['b', 'A', 'c'] | sort(reverse=true) }} {{ ['b', 'A', 'a', 'B'] | unique | list }} {{ ['b', 'A'] | min }}",
    "{{ 'Straße DŽ ǆ iı' | upper }} {{ 'STRASSE ÄÖ' | lower }} {{ \"they're o'neil\".title() }} {{ 'aBc ÄÖ'.swapcase() }} {{ 'x'.center(4, '-') }} {{ 'xy'.center(5) }}| {{ '-7'.zfill(5) }} {{ 'a-b-c'.rpartition('-') | join('|') }} {{ 'a--b'.replace('-', '', 1) }} {{ 'ab'.replace('', '.') }}",
]
# What Jinja refuses too.
REFUSED = [
    "{% filter upper is not defined %}x{% endfilter %}", "{% set x | upper is not none %}x{% endset %}", "{% for a in [1] %}{% macro f() %}{% break %}{% endmacro %}{% endfor %}",
    "{{ 'x' | upper(nonsense=1) }}", "{{ 'x'.split('a', 1, 2) }}", "{{ 'x' | join('a', d='b') }}", "{{ 0 ** -1 }}", "{{ 'x'.ljust(3, 'ab') }}",
]


@pytest.fixture(scope="module")
def templates():
    """Name: (template, its tokens, a tokenizer of ours)."""
    found = {}
    for name in ("llama3", "qwen3"):
        config = json.loads((peers.from_npm(name) / "tokenizer_config.json").read_text())
        found[name] = (config["chat_template"], {key: config[key] for key in ("bos_token", "eos_token") if config.get(key)}, peers.from_npm(name))
    path = smollm2_json().parent / "smollm2.gguf.json"
    found["smollm2"] = (json.loads(path.read_text())["chat_template"], {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}, path)
    return found


def ours(chats, tokenizer="-"):
    return [json.loads(line) for line in peers.chat_lines(tokenizer, [json.dumps(chat).encode() for chat in chats])]


def expected(template, messages, tokens, prompt=False, tools=None, **variables):
    return _compile_jinja_template(template).render(messages=messages, tools=tools, documents=None, add_generation_prompt=prompt, **tokens, **variables)


@pytest.mark.parametrize("name", ["llama3", "qwen3", "smollm2"])
def test_real_templates_write_what_jinja_writes(templates, name):
    template, tokens, _ = templates[name]
    cases = [(chat, prompt, tools, variables) for chat in CHATS for prompt in (False, True) for tools in (None, TOOLS)
             for variables in ({}, {"enable_thinking": False})]
    found = ours([{"template": template, "messages": chat, "tokens": tokens, "add_generation_prompt": prompt, "tools": tools, "variables": variables}
                  for chat, prompt, tools, variables in cases])
    for (chat, prompt, tools, variables), one in zip(cases, found):
        assert one["text"] == expected(template, chat, tokens, prompt, tools, **variables)


# As llama.cpp's sources name them; Vigogne's is Llama-2's with a system message of its own.
COLLECTED = [
    "mistralai/Mistral-7B-Instruct-v0.2 (NOTE: Old pre-v1 without a system prompt)", "mistralai/Mistral-7B-Instruct-v0.2 (mistralai 'v1' template with a system prompt)",
    "Mistral-Large-Instruct-2407 (mistralai 'v3' template; modified to have system prompt at start)",
    "Mistral-Nemo-Instruct-2407 (mistralai 'v3-tekken' template; modified to have system prompt at start)",
    "mistralai/Mistral-Large-Instruct-2411 (mistralai 'v7' template)", "mistralai-Mistral-Nemo-Instruct-2407", "Mistral-Small-3.2-24B-Instruct-2506",
    "bofenghuang/vigogne-2-70b-chat", "meta-llama-Llama-3.1-8B-Instruct", "meta-llama-Llama-3.2-3B-Instruct", "meta-llama-Llama-3.3-70B-Instruct",
    "Qwen-Qwen2.5-7B-Instruct", "Qwen-Qwen3-0.6B", "Qwen-QwQ-32B", "HuggingFaceTB-SmolLM3-3B", "Qwen3-Coder",
]


@pytest.mark.slow  # they are in a package of 70 MB
@pytest.mark.parametrize("name", COLLECTED)
def test_collected_templates_write_what_jinja_writes(name):
    template, tokens, now = peers.chat_templates()[name], {"bos_token": "<s>", "eos_token": "</s>"}, int(time.time())
    cases = [(chat, prompt, tools) for chat in [*CHATS, CHATS[1][:1] + CHATS[1][1:2] * 2] for prompt in (False, True) for tools in (None, TOOLS)]
    found = ours([{"template": template, "messages": chat, "tokens": tokens, "add_generation_prompt": prompt, "tools": tools, "now": now}
                  for chat, prompt, tools in cases])
    written = 0
    for (chat, prompt, tools), one in zip(cases, found):
        try:
            text = expected(template, chat, tokens, prompt, tools)
        except jinja2.TemplateError as error:  # raise_exception(), or a value that is not there
            assert "error" in one, error
        except TypeError:  # Python's own, for values that the template does not expect
            continue
        else:
            assert one.get("text", one) == text
            written += 1
    assert written >= 4


@pytest.mark.parametrize("number", range(len(LANGUAGE)))
def test_the_language_is_jinjas(number):
    template = LANGUAGE[number]
    now = int(time.time())
    cases = [(chat, tools) for chat in CHATS for tools in (None, TOOLS)]
    found = ours([{"template": template, "messages": chat, "tools": tools, "now": now} for chat, tools in cases])
    for (chat, tools), one in zip(cases, found):
        assert one.get("text", one) == expected(template, chat, {}, tools=tools)


@pytest.mark.parametrize("template", REFUSED)
def test_what_jinja_refuses_is_refused(template):
    with pytest.raises((jinja2.TemplateError, SyntaxError, TypeError, ZeroDivisionError)):
        expected(template, CHATS[0], {})
    found, = ours([{"template": template, "messages": CHATS[0]}])
    assert "line 1" in found["error"]


@pytest.mark.parametrize("name", ["llama3", "qwen3", "smollm2"])
def test_answers_are_where_they_stand(templates, name):
    template, tokens, tokenizer = templates[name]
    end = {"llama3": "<|eot_id|>"}.get(name, "<|im_end|>")
    for chat, one in zip(CHATS, ours([{"template": template, "messages": chat, "tokens": tokens} for chat in CHATS], tokenizer)):
        text = one["text"].encode()
        said = [message for message in chat if message["role"] == "assistant"]
        spans = [text[begin:stop].decode() for role, begin, stop in one["answers"] if role == "assistant"]
        if any("tool_calls" in message for message in said) and name != "qwen3":
            continue  # these templates do not write tool calls
        assert len(spans) == len(said)
        for message, span in zip(said, spans):
            assert span.endswith(end) and span.count(end) == 1
            assert message["content"].split("</think>")[-1].strip() in span
            assert "<|im_start|>" not in span and "<|start_header_id|>" not in span
        # An answer begins where a prompt of the messages before it ends: nothing of the header is learned.
        for (_, begin, _) in one["answers"]:
            assert text[:begin].decode().endswith({"llama3": "<|end_header_id|>\n\n"}.get(name, "<|im_start|>assistant\n"))
        # And as tokens: those of the answers are those spans.
        learned = [token for token, inside in zip(one["ids"], one["in_answer"]) if inside]
        assert peers.decode(tokenizer, [learned], "with-specials")[0].decode() == "".join(spans)


def test_a_refusal_names_the_line():
    found, = ours([{"template": "a\n{{ raise_exception('Roles must alternate') }}", "messages": CHATS[0]}])
    assert "line 2" in found["error"] and "Roles must alternate" in found["error"]


def folder_with(templates, form, folder):
    """Qwen3's tokenizer with these templates, in one of the forms in which checkpoints ship several."""
    shutil.copytree(peers.from_npm("qwen3"), folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config |= {"pad_token": "<|endoftext|>", "chat_template": "{{ 'not this one' }}"}
    if form == "list":
        config["chat_template"] = [{"name": name, "template": template} for name, template in templates.items()]
    else:
        for name, template in templates.items():
            path = folder / ("chat_template.jinja" if name == "default" else f"additional_chat_templates/{name}.jinja")
            path.parent.mkdir(exist_ok=True)
            path.write_text(template)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("form", ["list", "files"])
@pytest.mark.parametrize("names", [["default", "tool_use", "rag"], ["default", "rag"], ["default"], ["tool_use"], ["rag"]])
def test_of_several_templates_transformers_choice_is_taken(templates, form, names, tmp_path):
    of_name = {"default": templates["smollm2"][0], "tool_use": templates["qwen3"][0], "rag": "{{ messages[-1].content }}{{ pad_token }}"}
    folder = folder_with({name: of_name[name] for name in names}, form, tmp_path / "model")
    peers.save(folder, tmp_path / "saved")  # and it is all there after having been saved
    theirs = AutoTokenizer.from_pretrained(folder)
    cases = [(chat, prompt, tools) for chat in CHATS for prompt in (False, True) for tools in (None, [], TOOLS)]
    for place in (folder, tmp_path / "saved"):
        found = ours([{"messages": chat, "add_generation_prompt": prompt, "tools": tools} for chat, prompt, tools in cases], place)
        for (chat, prompt, tools), one in zip(cases, found):
            try:
                text = theirs.apply_chat_template(chat, tools=tools, add_generation_prompt=prompt, tokenize=False)
            except ValueError:  # several, and no default
                assert "none that is the default" in one["error"] and ", ".join(sorted(names)) in one["error"]
            else:
                assert one.get("text", one) == text


def test_names_of_tokens_are_there(tmp_path):
    folder = folder_with({"default": "{{ bos_token }}|{{ eos_token }}|{{ pad_token }}|{{ unk_token }}"}, "files", tmp_path / "model")
    found, = ours([{"messages": CHATS[0]}], folder)
    assert found["text"] == AutoTokenizer.from_pretrained(folder).apply_chat_template(CHATS[0], tokenize=False)


@pytest.mark.parametrize("template, error", [
    ("7", "must be a template, or a list"), ('[{"name": "default"}]', "has an item without a name and a template"), ('["a"]', "without a name"),
])
def test_templates_in_no_known_form_are_refused(template, error, tmp_path):
    folder = folder_with({}, "files", tmp_path / "model")
    config = json.loads((folder / "tokenizer_config.json").read_text()) | {"chat_template": json.loads(template)}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(AssertionError, match=error):
        ours([{"messages": CHATS[0]}], folder)
