#include "common/log.h"

#include <spdlog/sinks/rotating_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

namespace athanor::log {

namespace {

constexpr std::size_t kFileBytesMax = 16 << 20;
constexpr std::size_t kOldFilesMax = 2;

spdlog::level::level_enum level_of(Level level) {
  switch (level) {
    case Level::kDebug: return spdlog::level::debug;
    case Level::kInfo: return spdlog::level::info;
    case Level::kWarning: return spdlog::level::warn;
    case Level::kError: return spdlog::level::err;
  }
  return spdlog::level::err;
}

spdlog::sink_ptr file_sink(const std::string& file) {
  return std::make_shared<spdlog::sinks::rotating_file_sink_mt>(file, kFileBytesMax, kOldFilesMax);
}

void open_with(const std::vector<spdlog::sink_ptr>& sinks, std::string_view program, Level least) {
  auto logger = std::make_shared<spdlog::logger>(std::string(program), sinks.begin(), sinks.end());
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e %^%-7l%$ %n %v");
  logger->set_level(level_of(least));
  logger->flush_on(spdlog::level::warn);
  spdlog::set_default_logger(std::move(logger));
}

}  // namespace

void open(std::string_view program, Level least, const std::string& file) {
  std::vector<spdlog::sink_ptr> sinks{std::make_shared<spdlog::sinks::stderr_color_sink_mt>()};
  if (!file.empty()) sinks.push_back(file_sink(file));
  open_with(sinks, program, least);
}

void open_quietly(std::string_view program, Level least, const std::string& file) {
  open_with({file_sink(file)}, program, least);
}

void write(Level level, std::string_view room, std::string_view text) {
  spdlog::log(level_of(level), "[{}] {}", room, text);
}

}  // namespace athanor::log
