#include "engine/model/tokenizer/jinja/access.h"

#include <algorithm>
#include <vector>

#include "common/error.h"
#include "engine/model/tokenizer/jinja/strings.h"

namespace athanor::model::jinja {

List items_of(const Value& value, Budget& budget) {
  if (value.undefined()) return {};
  if (value.list() || value.dict()) budget.spend(static_cast<std::uint64_t>(length_of(value)), Budget::kItem);
  if (value.list()) return *value.list();
  List items;
  if (value.dict()) {
    for (const auto& item : *value.dict()) items.push_back(item.first);
    return items;
  }
  if (!value.text()) refuse("going through the items", value);
  budget.spend(value.text()->bytes.size(), Budget::kItem);
  const std::vector<std::size_t> starts = character_starts(value.text()->bytes);
  for (std::size_t i = 0; i + 1 < starts.size(); ++i) items.push_back(value.text()->slice(starts[i], starts[i + 1]));
  return items;
}

std::int64_t length_of(const Value& value) {
  if (value.undefined()) return 0;
  if (value.text()) return static_cast<std::int64_t>(character_count(value.text()->bytes));
  if (value.list()) return static_cast<std::int64_t>(value.list()->size());
  if (value.dict()) return static_cast<std::int64_t>(value.dict()->size());
  refuse("taking the length", value);
}

Value attribute_of(const Value& value, std::string_view name, Budget& budget) {
  if (value.undefined()) refuse("", value);
  if (const Namespace* space = value.space()) {
    const auto found = space->fields.find(std::string(name));
    if (found != space->fields.end()) return found->second;
  }
  if (value.dict()) {
    budget.spend(value.dict()->size());
    if (const Value* found = find(*value.dict(), name)) return *found;
  }
  return Undefined{std::string(name)};
}

Value item_of(const Value& value, const Value& key, Budget& budget) {
  if (value.undefined()) refuse("", value);
  if (key.text()) return attribute_of(value, key.text()->bytes, budget);
  if ((value.list() || value.text()) && key.number() && !key.real()) {
    if (value.text()) budget.spend(value.text()->bytes.size(), 2);
    const std::int64_t length = length_of(value);
    const std::int64_t at = key.as_integer() < 0 ? key.as_integer() + length : key.as_integer();
    if (at < 0 || at >= length) return Undefined{fmt::format("item {}", key.as_integer())};
    if (value.list()) return (*value.list())[static_cast<std::size_t>(at)];
    const std::vector<std::size_t> starts = character_starts(value.text()->bytes);
    return value.text()->slice(starts[static_cast<std::size_t>(at)], starts[static_cast<std::size_t>(at) + 1]);
  }
  return Undefined{to_repr(key, budget).bytes};
}

bool contains(const Value& container, const Value& item, Budget& budget) {
  if (container.text()) {
    if (!item.text()) refuse("looking into a text for a value that is no text", item);
    budget.spend(container.text()->bytes.size() + item.text()->bytes.size());
    return find_text(container.text()->bytes, item.text()->bytes) != std::string_view::npos;
  }
  if (container.dict()) {
    budget.spend(container.dict()->size());
    return item.text() && find(*container.dict(), item.text()->bytes) != nullptr;
  }
  if (container.undefined()) return false;
  if (!container.list()) refuse("going through the items", container);
  const List& items = *container.list();
  return std::any_of(items.begin(), items.end(), [&](const Value& other) { return equal(item, other, budget); });
}

}  // namespace athanor::model::jinja
