#include "engine/model/tokenizer/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/error.h"
#include "engine/model/tokenizer/bpe_trainer.h"

namespace athanor::model {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kChatMl =
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + "
    "'\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
constexpr const char* kLlama2 =
    "{% for message in messages %}{% if message.role == 'user' %}{{ bos_token + '[INST] ' + message.content.strip() + "
    "' [/INST]' }}"
    "{% elif message.role == 'assistant' %}{{ ' ' + message.content.strip() + ' ' + eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported, not ' ~ message.role) }}{% endif %}{% "
    "endfor %}";

std::string written(std::string_view source, const std::string& variables = "{}") {
  ChatOptions options;
  options.variables = json::parse(variables, "variables").as_object();
  return ChatTemplate(source).render({}, options).text;
}

std::string refusal(std::string_view source, const std::string& variables = "{}") {
  try {
    return "gave: " + written(source, variables);
  } catch (const Error& error) {
    return error.what();
  }
}

std::vector<std::string> answers(std::string_view source, const std::string& messages, ChatOptions options = {}) {
  options.tokens = {{"bos_token", "<s>"}, {"eos_token", "</s>"}};
  options.specials = {"<s>", "</s>", "<|im_start|>", "<|im_end|>"};
  const RenderedChat chat = ChatTemplate(source).render(json::parse(messages, "messages").as_array(), options);
  std::vector<std::string> found;
  for (const ChatSpan& span : chat.answers) {
    EXPECT_EQ(span.role, "assistant");
    found.push_back(chat.text.substr(span.begin, span.end - span.begin));
  }
  return found;
}

TEST(ChatTemplate, WritesWhatJinjaWrites) {
  const std::vector<std::array<std::string, 3>> cases{
      {"{{ 1 + 2 * 3 }} {{ 7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 3 }}", "{}", "7 3 2 3.5 8"},
      {"{{ 'a' ~ 1 ~ none ~ true }}", "{}", "a1NoneTrue"},
      {"{{ [1, 'a', {'b': 2.0}] }}", "{}", "[1, 'a', {'b': 2.0}]"},
      {"{% for i in range(3) %}{{ loop.index }}/{{ loop.length }}{{ ',' if not loop.last }}{% endfor %}", "{}",
       "1/3,2/3,3/3"},
      {"{% for k, v in x.items() %}{{ k }}={{ v }};{% else %}none{% endfor %}", R"({"x":{"a":1,"b":[2]}})",
       "a=1;b=[2];"},
      {"{% for i in [] %}{% else %}empty{% endfor %}", "{}", "empty"},
      {"{% set x = 1 %}{% for i in [1,2] %}{% set x = 5 %}{% endfor %}{{ x }}", "{}", "1"},
      {"{% set ns = namespace(n=0) %}{% for i in [1,2] %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}", "{}", "3"},
      {"{{ x[::-1] }}{{ x[1:] }}{{ x[-2:] }}{{ x[:1] }}", R"({"x":"añb"})", "bñañbñba"},
      {"{{ x | tojson }}", R"({"x":{"q":"\"é<\n","n":[1,2.5,null,true]}})",
       R"({"q": "\"é<\n", "n": [1, 2.5, null, true]})"},
      {"{{ x | tojson(indent=2) }}", R"({"x":{"a":[1],"b":{}}})", "{\n  \"a\": [\n    1\n  ],\n  \"b\": {}\n}"},
      {"{% macro f(a, b='z') %}[{{ a }}{{ b }}]{% endmacro %}{{ f(1) }}{{ f(b=2, a=3) }}", "{}", "[1z][32]"},
      {"{%- if a is defined and a is not none %}A{% elif b %}B{% else %}C{% endif -%}  \n x", R"({"b":[0]})", "Bx"},
      {"a  {%- set x = 1 -%}  b\n  {# c #}\n  {% if x %}\n yes\n  {% endif %}\n.", "{}", "ab\n yes\n."},
      {"{{ 'a,b,,c'.split(',') }}{{ ' a  b '.split() }}{{ 'a-b-c'.rsplit('-', 1) }}", "{}",
       "['a', 'b', '', 'c']['a', 'b']['a-b', 'c']"},
      {"{{ 'ÄbC'.lower() }}{{ 'straße' | upper }}{{ 'ab cd' | title }}{{ '  x '.strip() }}{{ 'xxaxx'.strip('x') }}",
       "{}", "äbcSTRASSEAb Cdxa"},
      {"{{ x | selectattr('r', 'equalto', 'u') | map(attribute='c') | join('+') }}",
       R"({"x":[{"r":"u","c":"1"},{"r":"a","c":"2"},{"r":"u","c":"3"}]})", "1+3"},
      {"{{ missing }}{{ missing is defined }}{{ missing | default('d') }}{{ x.y | length }}", R"({"x":{}})", "Falsed0"},
      {"{% for i in range(9) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% "
       "endfor %}",
       "{}", "02"},
      {"{% raw %}{{ x }}{% endraw %}{% set b %}in {{ 1 }}{% endset %}{{ b | upper }}", "{}", "{{ x }}IN 1"},
      {"{{ strftime_now('%Y') }}", "{}", "1970"},
      {"{{ 'a' in 'cat' and 1 not in [2] and 'k' in {'k': 1} }}{{ 1 < 2 < 3 }}{{ 1 == 1.0 }}", "{}", "TrueTrueTrue"},
      {"{% macro f() %}{{ caller(1) }}{{ caller(2) }}{% endmacro %}{% call(x) f() %}<{{ x }}>{% endcall %}", "{}",
       "<1><2>"},
      {"{% macro f() %}[{{ caller() }}]{% endmacro %}{% call(x) f() %}<{{ x }}>{% endcall %}"
       "{% call(x, y=2) f() %}{{ x }}{{ y }}{% endcall %}",
       "{}", "[<>][2]"},
      {"{% for a in [1, 2] %}{{ a }}{% for b in [] %}{% else %}{% break %}{% endfor %}x{% endfor %}", "{}", "1"},
      {"{% for a in [1, 2] %}{{ a }}{% for b in [] %}{% else %}{% continue %}{% endfor %}x{% endfor %}", "{}", "12"},
      {"{{ 'abcabc'.find('a', 1) }} {{ 'abc'.startswith('b', 1) }} {{ 'abc'.endswith('b', 0, -1) }} "
       "{{ 'éaéa'.count('a', 2, 9) }} {{ 'abc'.find('', 4) }} {{ 'aéa'.rfind('a', -1) }} {{ 'abcb'.index('b', 2) }}",
       "{}", "3 True True 1 -1 2 3"},
      {"{{ 'é😀' | tojson(ensure_ascii=true) }}{{ 'ff' | int(0, 16) }} {{ '0x1F' | int(base=16) }} {{ '1_000' | int }} "
       "{{ '1__0' | int(7) }} {{ ' -2.9 ' | int }}",
       "{}", "\"\\u00e9\\ud83d\\ude00\"255 31 1000 7 -2"},
      {"{{ 9007199254740993 > 9007199254740992 }} {{ 2 ** 60 }} {{ (-1) ** 7 }} {{ 2 ** -1 }} {{ -7 is divisibleby(-1) "
       "}}",
       "{}", "True 1152921504606846976 -1 0.5 True"},
      {"{{ least is divisibleby(-1) }}{{ least % -1 }}", R"({"least":-9223372036854775808})", "True0"},
  };
  for (const auto& [source, variables, expected] : cases) {
    EXPECT_EQ(written(source, variables), expected) << source;
  }
}

TEST(ChatTemplate, NamesLineAndConstructOfWhatItRefuses) {
  EXPECT_THAT(refusal("a\n{% include 'x' %}"), testing::AllOf(HasSubstr("line 2"), HasSubstr("'include'")));
  EXPECT_THAT(refusal("a\n\n{{ 1 + }}"), testing::AllOf(HasSubstr("line 3"), HasSubstr("'}}'")));
  EXPECT_THAT(refusal("{% if x %}"), HasSubstr("endif"));
  EXPECT_THAT(refusal("{{ x"), HasSubstr("no end"));
  EXPECT_THAT(refusal("\n{{ 'x' | frobnicate }}"), testing::AllOf(HasSubstr("line 2"), HasSubstr("frobnicate")));
  EXPECT_THAT(refusal("{{ 1 is odder }}"), HasSubstr("odder"));
  EXPECT_THAT(refusal("\n\n{{ raise_exception('No ' + 'way') }}"),
              testing::AllOf(HasSubstr("line 3"), HasSubstr("No way")));
  EXPECT_THAT(refusal("{{ a.b.c }}", R"({"a":{}})"), HasSubstr("'b' is undefined"));
  EXPECT_THAT(refusal("{{ [].append(1) }}"), HasSubstr("append"));
  EXPECT_THAT(refusal("{{ 1 + 'a' }}"), testing::AllOf(HasSubstr("int"), HasSubstr("str")));
  EXPECT_THAT(refusal("{{ 1 // 0 }}"), HasSubstr("divided by 0"));
  EXPECT_THAT(refusal("{{ 0 ** -1 }}"), HasSubstr("divided by 0"));
}

// Nothing that a template gives is passed over.
TEST(ChatTemplate, RefusesArgumentsThatItDoesNotKnow) {
  EXPECT_THAT(refusal("{{ 'x' | upper(nonsense=1) }}"), HasSubstr("'nonsense'"));
  EXPECT_THAT(refusal("{{ 'x' | upper(1) }}"), HasSubstr("takes 0 arguments, not 1"));
  EXPECT_THAT(refusal("{{ 'x' | tojson(compact=true) }}"), HasSubstr("'compact'"));
  EXPECT_THAT(refusal("{{ [1] | map(attribute='a', other=1) | list }}"), HasSubstr("'other'"));
  EXPECT_THAT(refusal("{{ [1] | join('a', d='b') }}"), HasSubstr("twice"));
  EXPECT_THAT(refusal("{{ 'x'.split('a', 1, 2) }}"), HasSubstr("takes 2 arguments, not 3"));
  EXPECT_THAT(refusal("{{ 'x'.strip(characters='x') }}"), HasSubstr("'characters'"));
  EXPECT_THAT(refusal("{{ 1 is even(2) }}"), HasSubstr("takes 0 arguments, not 1"));
  EXPECT_THAT(refusal("{{ '1' | int(0, 0) }}"), HasSubstr("base"));
}

TEST(ChatTemplate, RefusesNumbersThatDoNotFit) {
  const std::string least = R"({"least":-9223372036854775808})";
  for (const char* source : {"{{ -least }}", "{{ least | abs }}", "{{ [least, -1] | sum }}", "{{ least // -1 }}",
                             "{{ least - 1 }}", "{{ least * -1 }}", "{{ 2 ** 63 }}", "{{ (-3) ** 99 }}",
                             "{{ '99999999999999999999' | int }}", "{{ 1e30 | int }}"}) {
    EXPECT_THAT(refusal(source, least), HasSubstr("too large")) << source;
  }
  EXPECT_THAT(refusal("{{ 'x'.zfill(least) }}{{ 'x'.rjust(least) }}{{ 'x'[least:] }}{{ 'a b'.split(none, -1e300) }}",
                      least),
              HasSubstr("gave: xxx"));
}

TEST(ChatTemplate, RefusesBlocksThatCannotBeLeftOrFiltered) {
  for (const char* block : {"{% macro f() %}{% break %}{% endmacro %}", "{% call f() %}{% continue %}{% endcall %}",
                            "{% filter upper %}{% break %}{% endfilter %}", "{% set x %}{% break %}{% endset %}"}) {
    EXPECT_THAT(refusal(std::string("{% for a in [1] %}") + block + "{% endfor %}"), HasSubstr("in no loop")) << block;
  }
  EXPECT_THAT(refusal("{% for a in [] %}{% else %}{% break %}{% endfor %}"), HasSubstr("in no loop"));
  EXPECT_EQ(written("{% for a in [1, 2] %}{% set x %}{% for b in [3, 4] %}{{ b }}{% break %}{% endfor %}{% endset %}"
                    "{{ x }}{% break %}{% endfor %}"),
            "3");
  for (const char* block :
       {"{% filter upper is not defined %}x{% endfilter %}", "{% filter upper is string is string %}x{% endfilter %}",
        "{% set x | upper is not none %}x{% endset %}", "{% filter upper()() %}x{% endfilter %}"}) {
    EXPECT_THAT(refusal(block), HasSubstr("'%}' was expected")) << block;
  }
}

TEST(ChatTemplate, EndsWhateverTheTemplateDoes) {
  const std::string long_text = "{% set t = 'a' * 30000000 %}";
  for (const std::string& source : {
           // Work that is much for each step.
           std::string("{{ range(100000) | join('a' * 60000000) }}"),
           long_text + "{% for i in range(99999) %}{% set y = t | upper %}{% endfor %}",
           long_text + "{% for i in range(99999) %}{{ t == 'a' * 30000000 }}{% endfor %}",
           long_text + "{{ t | replace('', t) }}",
           long_text + "{{ t.replace('a', t) }}",
           long_text + "{{ t | list }}",
           long_text + "{{ t.split('a') }}",
           long_text + "{{ range(99999) | map('replace', 'x', t) | list }}",
           long_text + "{{ ('\\n' * 1000) | indent(t, true, true) }}",
           std::string("{{ 'x'.ljust(9999999999) }}"),
           std::string("{{ 'x'.zfill(9999999999) }}"),
           std::string("{{ 'aaaaaaaa' * 100000000 }}"),
           std::string("{{ range(100000) | unique | list }}"),
           std::string("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"),
           // What is held once and written often.
           std::string("{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}"
                       "{% endfor %}{{ ns.x }}"),
           std::string("{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}"
                       "{% endfor %}{{ ns.x | tojson }}"),
           std::string("{% set ns = namespace(x='a', y='a') %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}"
                       "{% set ns.y = [ns.y, ns.y] %}{% endfor %}{{ ns.x == ns.y }}"),
           std::string(
               "{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}"),
           std::string(
               "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}"),
       }) {
    EXPECT_THAT(refusal(source), testing::AllOf(HasSubstr("limit is 67108864 units"), HasSubstr("line 1"))) << source;
  }
  EXPECT_THAT(refusal("{{ range(10000000) }}"), HasSubstr("100000"));
}

// What is in itself or far into others is freed too.
TEST(ChatTemplate, RefusesValuesThatAreTooDeep) {
  const auto grown = [](const std::string& value, int times = 5000) {
    return refusal("{% set ns = namespace(x={}, f=0) %}{% for i in range(" + std::to_string(times) +
                   ") %}{% set ns.x = " + value + " %}{% endfor %}ok");
  };
  for (const char* value : {"[ns.x]", "{'a': ns.x}", "{'a': ns.x}.items", "[1, ns.x][::-1]", "{'a': ns.x}.items()",
                            "[[ns.x], 1] | list", "dict(a=ns.x)", "[ns.x] | map('list') | list"}) {
    EXPECT_THAT(grown(value), HasSubstr("limit of depth is 400 levels")) << value;
  }
  EXPECT_EQ(grown("[ns.x]", 399), "gave: ok");
  EXPECT_THAT(refusal("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"), HasSubstr("limit of depth is 400 levels"));
  // A namespace is emptied by the run, however deep it stands.
  EXPECT_EQ(written("{% set ns = namespace(x=0) %}{% set ns.x = ns %}{% set ns.y = [ns.x.x] %}ok"), "ok");
  EXPECT_EQ(written("{% set ns = namespace(x=0) %}{% for i in range(50000) %}{% set ns.x = namespace(x=ns.x) %}"
                    "{% endfor %}ok"),
            "ok");
  EXPECT_EQ(written("{% set ns = namespace(f=0) %}{% for i in [1] %}{% set ns.f = loop.changed %}{% endfor %}"
                    "{{ ns.f(1) }}{{ ns.f(1) }}{{ ns.f(ns.f) }}{{ ns.f(2) }}"),
            "TrueFalseTrueTrue");
}

std::string repeated(std::string_view text, int times) {
  std::string made;
  for (int i = 0; i < times; ++i) made += text;
  return made;
}

// All that is read is walked and freed recursively, so that nothing may be deeper than the stack bears.
TEST(ChatTemplate, RefusesSyntaxThatIsTooDeep) {
  const auto expect_deep = [](const std::string& source) {
    EXPECT_THAT(refusal(source), testing::AllOf(HasSubstr("limit of depth is 400"), HasSubstr("line 1")))
        << source.substr(0, 100);
  };
  for (const char* part : {" + 1", " ~ 1", " * 1", " ** 1", " and 1", " or 1", ".a", "[0]", "(0)", " | upper",
                           " is string", " if 1 else 0", "(a=1)"}) {
    expect_deep("{{ x" + repeated(part, 5'000) + " }}");
  }
  for (const auto& [open, close] : {std::pair("(", ")"),
                                    {"[", "]"},
                                    {"{'a':", "}"},
                                    {"-", ""},
                                    {"not ", ""},
                                    {"f(", ")"},
                                    {"f(a=", ")"},
                                    {"x[", "]"},
                                    {"x[1:", "]"},
                                    {"x is eq [", "]"},
                                    {"x | join(", ")"},
                                    {"1 if ", ""}}) {
    expect_deep("{{ " + repeated(open, 5'000) + "1" + repeated(close, 5'000) + " }}");
  }
  expect_deep("{{ x " + repeated("if x else x ", 5'000) + " }}");
  expect_deep(repeated("{% if x %}", 5'000) + repeated("{% endif %}", 5'000));
  expect_deep("{% if x %}" + repeated("{% elif x %}", 5'000) + "{% endif %}");
  expect_deep(repeated("{% for x in y %}", 5'000) + repeated("{% endfor %}", 5'000));
  expect_deep("{% set x " + repeated("| upper", 5'000) + " %}{% endset %}");
  // Long in each of many levels, each of which is shallow.
  std::string level = "1";
  for (int i = 0; i < 60; ++i) {
    level = "(" + level + repeated(" * 1", 350) + repeated(" ~ 1", 350) + repeated(" or 1", 350) + ")";
  }
  expect_deep("{{ " + level + " }}");
}

TEST(ChatTemplate, TakesSyntaxAsDeepAsTheLimit) {
  EXPECT_EQ(written("{{ 1" + repeated(" + 1", 350) + " }}"), "351");
  EXPECT_EQ(written("{{ " + repeated("(", 180) + "1" + repeated(")", 180) + " }}"), "1");
  EXPECT_EQ(written(repeated("{% if true %}", 300) + "a" + repeated("{% endif %}", 300)), "a");
}

TEST(ChatTemplate, FindsTheAnswersAndWhatEndsThem) {
  const std::string chat = R"([{"role":"user","content":"2+2?"},{"role":"assistant","content":"4"},
                               {"role":"user","content":"4"},{"role":"assistant","content":"2+2?"}])";
  EXPECT_THAT(answers(kChatMl, chat), ElementsAre("4<|im_end|>", "2+2?<|im_end|>"));
  EXPECT_THAT(answers(kLlama2, chat), ElementsAre(" 4 </s>", " 2+2? </s>"));
  EXPECT_THAT(answers(kChatMl, R"([{"role":"user","content":"a"}])"), ElementsAre());
  EXPECT_THAT(
      answers(
          "{% for m in messages %}{% if m.role == 'assistant' %}A:{% generation %} {{ m.content }}!{% endgeneration %}"
          "{% else %}U: {{ m.content }}{% endif %}{% endfor %}",
          chat),
      ElementsAre(" 4!", " 2+2?!"));
}

// The template writes an answer otherwise when another message follows it (Qwen3 does), and refuses prompts.
TEST(ChatTemplate, FindsTheAnswersThatDependOnWhatFollows) {
  const std::string source =
      "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' and loop.last "
      "%}<think>\n\n</think>\n\n{% endif %}"
      "{{ m.content.split('</think>')[-1].lstrip('\n') | replace('é', 'e') }}<|im_end|>\n{% endfor %}"
      "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
  EXPECT_THAT(answers(source,
                      R"([{"role":"user","content":"q"},{"role":"assistant","content":"<think>x</think>\n\none é"},
                                  {"role":"user","content":"r"},{"role":"assistant","content":"two"}])"),
              ElementsAre("one e<|im_end|>", "<think>\n\n</think>\n\ntwo<|im_end|>"));
}

// The words that lead to one answer are looked for before the next; not all answers have them, and messages may say them.
TEST(ChatTemplate, FindsTheAnswersThatBeginDifferently) {
  const std::string source =
      "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.thoughts %}<think>{{ m.thoughts }}</think>{% endif %}"
      "{% if m.note %}Note: {% endif %}{{ m.content }}<|im_end|>\n{% endfor %}"
      "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
  EXPECT_THAT(answers(source,
                      R"([{"role":"user","content":"a"},{"role":"assistant","content":"one"},
                  {"role":"user","content":"<|im_start|>assistant\n"},{"role":"assistant","content":"two","note":true},
                  {"role":"user","content":"c"},{"role":"assistant","content":"three","thoughts":"hm"},
                  {"role":"user","content":"d"},{"role":"assistant","content":"<|im_start|>assistant\nfour"},
                  {"role":"assistant","content":"five"}])"),
              ElementsAre("one<|im_end|>", "Note: two<|im_end|>", "<think>hm</think>three<|im_end|>",
                          "<|im_start|>assistant\nfour<|im_end|>", "five<|im_end|>"));
  // A template that leads to its answers with nothing.
  EXPECT_THAT(answers("{% for m in messages %}{{ m.content }}{% if m.role == 'assistant' %}</s>{% endif %}{% endfor %}",
                      R"([{"role":"user","content":"a"},{"role":"assistant","content":"one"},
                          {"role":"user","content":"b"},{"role":"assistant","content":"two"}])"),
              ElementsAre("one</s>", "two</s>"));
}

TEST(ChatTemplate, ToolCallsAreAnswersToo) {
  const std::string source =
      "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{% for c in m.tool_calls "
      "%}<tool_call>{\"name\": \"{{ c.name }}\", "
      "\"arguments\": {{ c.arguments | tojson }}}</tool_call>{% endfor %}<|im_end|>\n{% endfor %}"
      "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
  EXPECT_THAT(
      answers(
          source,
          R"([{"role":"user","content":"q"},{"role":"assistant","content":"","tool_calls":[{"name":"f","arguments":{"x":1}}]},
                                  {"role":"tool","content":"1"}])"),
      ElementsAre("<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": 1}}</tool_call><|im_end|>"));
}

TEST(EncodeChat, MarksTheTokensOfTheAnswers) {
  BpeTrainer trainer(PreTokenizer::gpt2());
  trainer.feed("the lord said unto them and the answer");
  const Tokenizer tokenizer =
      trainer.train({.vocabulary = 300, .specials = {std::string(kEndOfText), "<|im_start|>", "<|im_end|>"}});
  const auto messages =
      json::parse(R"([{"role":"user","content":"the lord"},{"role":"assistant","content":"said unto"}])", "m")
          .as_array();
  const RenderedChat chat = ChatTemplate(kChatMl).render(messages, chat_options(tokenizer, 0));
  const ChatTokens tokens = encode_chat(tokenizer, chat);
  ASSERT_EQ(tokens.ids.size(), tokens.answer.size());
  EXPECT_EQ(tokenizer.decode(tokens.ids, true), chat.text);
  std::vector<TokenId> answer;
  for (std::size_t i = 0; i < tokens.ids.size(); ++i) {
    if (tokens.answer[i] != 0) answer.push_back(tokens.ids[i]);
  }
  EXPECT_EQ(tokenizer.decode(answer, true), "said unto<|im_end|>");
}

}  // namespace
}  // namespace athanor::model
