// Tokenizers, and texts as tokens.
#include <algorithm>

#include "common/counts.h"
#include "common/error.h"
#include "common/whole_file.h"
#include "engine/cli/commands.h"
#include "engine/cli/console.h"
#include "engine/cli/corpus.h"
#include "engine/cli/stop_signals.h"
#include "engine/cli/texts.h"
#include "engine/model/tokenizer/tokenizer_files.h"

namespace athanor::llm {

namespace {

// What tokenizer_config.json states as the longest text of a tokenizer that belongs to no model yet.
constexpr std::int64_t kContextUnknown = 1 << 20;

}  // namespace

int train_tokenizer(const TokenizerTrainCommand& command) {
  SystemFiles files;
  const std::vector<std::string> texts = text_files(files, command.text);
  if (total_bytes(files, texts) == 0) {
    throw Error(ErrorKind::kInvalid, "There is nothing to learn from: {} has empty files only",
                fmt::join(command.text, ", "));
  }
  const model::Tokenizer tokenizer = train_tokenizer(files, texts, command.vocabulary);
  static_cast<Files&>(files).make_folders(command.out);
  model::save_tokenizer(files, command.out, tokenizer, kContextUnknown);
  say("{}/tokenizer.json has {}, from {} of text{}", command.out, format_count(tokenizer.vocabulary(), "token"),
      format_count(static_cast<std::int64_t>(total_bytes(files, texts)), "byte"),
      tokenizer.vocabulary() < command.vocabulary ? ", which has no more pairs that occur twice" : "");
  return 0;
}

int encode(const EncodeCommand& command) {
  SystemFiles files;
  const std::vector<std::string> texts = text_files(files, command.text);
  const model::Tokenizer tokenizer = model::load_tokenizer(files, command.tokenizer);
  const StopSignals signals(WholeFile::temporary_path(command.out));
  data::TokenFileWriter writer(files, command.out, tokenizer.vocabulary(), tokenizer_digest(tokenizer));
  encode_texts(files, texts, tokenizer, writer);
  writer.finish();
  const auto bytes = static_cast<std::int64_t>(total_bytes(files, texts));
  say("{} has {}, from {} of text ({:.2f} bytes a token)", command.out, format_count(writer.count(), "token"),
      format_count(bytes, "byte"),
      static_cast<double>(bytes) / static_cast<double>(std::max<std::int64_t>(1, writer.count())));
  return 0;
}

}  // namespace athanor::llm
