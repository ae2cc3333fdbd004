#include "engine/model/tokenizer/jinja/functions.h"

#include <algorithm>

#include "common/error.h"

namespace athanor::model::jinja {

namespace {

constexpr std::int64_t kRangeMax = 100'000;  // Jinja's sandbox has the same

}  // namespace

Context::~Context() {
  for (const auto& space : spaces) space->fields.clear();
}

std::shared_ptr<Namespace> Context::make_space() {
  budget.spend(1, Budget::kItem);
  spaces.push_back(std::make_shared<Namespace>());
  return spaces.back();
}

std::optional<Value> global(std::string_view name, Context& context) {
  if (name == "range") {
    return Function{"range", [&context](const Arguments& given) -> Value {
                      for (const Value& value : given.positional) {
                        if (!value.number() || value.real()) refuse("range()", value);
                      }
                      const std::size_t count = given.positional.size();
                      if (count == 0 || count > 3) {
                        throw Error(ErrorKind::kInvalid, "range() takes one to three numbers");
                      }
                      std::int64_t at = count > 1 ? given.positional[0].as_integer() : 0;
                      const std::int64_t end = given.positional[count > 1 ? 1 : 0].as_integer(),
                                         by = count > 2 ? given.positional[2].as_integer() : 1;
                      if (by == 0) throw Error(ErrorKind::kInvalid, "range() cannot go in steps of 0");
                      List list;
                      for (; by > 0 ? at < end : at > end;) {
                        if (static_cast<std::int64_t>(list.size()) == kRangeMax) {
                          throw Error(ErrorKind::kInvalid, "range() has more than {} numbers", kRangeMax);
                        }
                        context.budget.spend(1, Budget::kItem);
                        list.push_back(at);
                        if (__builtin_add_overflow(at, by, &at)) break;
                      }
                      return list;
                    }};
  }
  if (name == "namespace") {
    return Function{"namespace", [&context](const Arguments& given) -> Value {
                      auto space = context.make_space();
                      for (const Value& value : given.positional) {
                        if (!value.dict()) refuse("namespace()", value);
                        context.budget.spend(value.dict()->size(), Budget::kItem);
                        for (const auto& [key, field] : *value.dict()) space->fields[key] = field;
                      }
                      for (const auto& [key, value] : given.named) space->fields[key] = value;
                      return space;
                    }};
  }
  if (name == "dict") {
    return Function{"dict", [&context](const Arguments& given) -> Value {
                      Dict dict;
                      for (const Value& value : given.positional) {
                        if (!value.dict()) refuse("dict()", value);
                        context.budget.spend(value.dict()->size(), Budget::kItem);
                        dict.insert(dict.end(), value.dict()->begin(), value.dict()->end());
                      }
                      context.budget.spend(dict.size() + given.named.size(), given.named.size());
                      for (const auto& named : given.named) {
                        const auto known = std::find_if(dict.begin(), dict.end(),
                                                        [&](const auto& item) { return item.first == named.first; });
                        known == dict.end() ? dict.push_back(named) : void(known->second = named.second);
                      }
                      return dict;
                    }};
  }
  if (name == "raise_exception") {
    return Function{"raise_exception", [&context](const Arguments& given) -> Value {
                      throw Error(ErrorKind::kInvalid, "the template refuses this conversation: {}",
                                  to_text(given.get(0, "message"), context.budget).bytes);
                    }};
  }
  if (name == "strftime_now") {
    return Function{"strftime_now", [&context](const Arguments& given) -> Value {
                      const std::string format = to_text(given.get(0, "format"), context.budget).bytes;
                      std::tm local{};
                      gmtime_r(&context.now, &local);
                      char written[512];
                      const std::size_t size =
                          format.size() > 200 ? 0 : std::strftime(written, sizeof written, format.c_str(), &local);
                      if (size == 0 && !format.empty()) {
                        throw Error(ErrorKind::kInvalid, "strftime_now('{}') gives no date", format);
                      }
                      return std::string(written, size);
                    }};
  }
  return std::nullopt;
}

}  // namespace athanor::model::jinja
