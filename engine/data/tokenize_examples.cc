#include "engine/data/tokenize_examples.h"

#include <span>
#include <variant>

#include "common/counts.h"
#include "common/error.h"
#include "engine/data/example.h"
#include "engine/data/json_lines.h"
#include "engine/data/preference.h"

namespace athanor::data {

TokenizedCounts tokenize_examples(Files& files, const std::vector<std::string>& paths, ExampleTokenizer& tokenizer,
                                  std::int64_t group, const DocumentSink& into) {
  ATHANOR_ASSERT(group == 1 || group == 2);
  TokenizedCounts counts;
  const auto add = [&](const Example& example, const std::string& source) {
    std::vector<TokenRun> document;
    try {
      document = std::visit([&](const auto& text) { return tokenizer.tokens(text); }, example);
    } catch (const Error& error) {
      throw Error(error.kind(), "{}: {}", source, error.what());
    }
    std::int64_t tokens = 0, targets = 0;
    for (const TokenRun& run : document) {
      const auto size = static_cast<std::int64_t>(run.tokens.size());
      // The first token of a document follows nothing, so nothing predicts it.
      if (run.in_loss) targets += size - (tokens == 0 && size > 0);
      tokens += size;
    }
    if (targets == 0)
      throw Error(ErrorKind::kInvalid, "{}: of its {} none is to be learnt", source, format_count(tokens, "token"));
    into(document);
    counts.tokens += tokens;
    counts.targets += targets;
  };
  for (const std::string& path : paths) {
    for_each_line(files, path, [&](std::string_view line, const std::string& source) {
      ++counts.lines;
      if (group == 1) {
        add(parse_example(line, source), source);
      } else {
        const Preference pair = parse_preference(line, source);
        add(pair.chosen, source);
        add(pair.rejected, source);
      }
    });
  }
  if (counts.lines == 0) {
    throw Error(ErrorKind::kInvalid, "There is nothing to learn: {} has no lines", fmt::join(paths, ", "));
  }
  return counts;
}

TokenizedCounts tokenize_examples(Files& files, const std::vector<std::string>& paths, ExampleTokenizer& tokenizer,
                                  DocumentFileWriter& into) {
  return tokenize_examples(files, paths, tokenizer, into.header().group,
                           [&](std::span<const TokenRun> document) { into.append(document); });
}

}  // namespace athanor::data
