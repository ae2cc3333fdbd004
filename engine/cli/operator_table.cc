#include "engine/cli/operator_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace athanor::llm {

namespace {

// Of one step.
struct Line {
  std::string name;
  double calls = 0, bytes = 0, flops = 0, seconds = 0;
  double share = 0;       // of the step's time
  bool computes = false;  // its limit is products, not memory
  double rate = 0;        // flops or bytes a second
  double fraction = 0;    // of the roofline
};

std::vector<Line> lines_of(const OperatorTable& table) {
  std::vector<Line> lines;
  Line rest{.name = "the rest", .seconds = table.step_s};
  for (const tensor::OperatorTime& o : table.operators) {
    Line line{.name = std::string(o.name),
              .calls = static_cast<double>(o.calls) / table.steps,
              .bytes = o.work.bytes / table.steps,
              .flops = o.work.flops / table.steps,
              .seconds = o.seconds / table.steps};
    const double products_s = line.flops / table.rates.product_flops, memory_s = line.bytes / table.rates.triad_bytes;
    line.computes = products_s > memory_s;
    if (line.seconds > 0) {
      line.rate = (line.computes ? line.flops : line.bytes) / line.seconds;
      line.fraction = std::max(products_s, memory_s) / line.seconds;
    }
    rest.seconds -= line.seconds;
    lines.push_back(std::move(line));
  }
  std::ranges::stable_sort(lines, std::ranges::greater(), &Line::seconds);
  rest.seconds = std::max(rest.seconds, 0.0);
  lines.push_back(std::move(rest));
  for (Line& line : lines) line.share = table.step_s > 0 ? line.seconds / table.step_s : 0;
  return lines;
}

}  // namespace

std::string OperatorTable::text() const {
  std::string text = fmt::format("{:<36}{:>7}{:>10}{:>10}{:>10}{:>8}{:>15}{:>10}\n", "operators of a step", "calls",
                                 "MB", "GFLOP", "ms", "share", "rate", "roofline");
  for (const Line& line : lines_of(*this)) {
    text += fmt::format("{:<36}{:>7.0f}{:>10.1f}{:>10.2f}{:>10.1f}{:>7.1f}%", line.name, line.calls, line.bytes * 1e-6,
                        line.flops * 1e-9, line.seconds * 1e3, line.share * 100);
    if (line.rate > 0) {
      text += fmt::format("{:>8.1f} {:<6}{:>9.0f}%", line.rate * 1e-9, line.computes ? "GFLOP/s" : "GB/s",
                          line.fraction * 100);
    }
    text += "\n";
  }
  text += fmt::format("{:<36}{:>37.1f}\nthis machine: products {:.1f} GFLOP/s, triad {:.1f} GB/s\n", "a step",
                      step_s * 1e3, rates.product_flops * 1e-9, rates.triad_bytes * 1e-9);
  return text;
}

json::array OperatorTable::lines() const {
  json::array all;
  for (const Line& line : lines_of(*this)) {
    json::object one{{"name", line.name},   {"calls", line.calls},     {"bytes", line.bytes},
                     {"flops", line.flops}, {"seconds", line.seconds}, {"share", line.share}};
    if (line.rate > 0) {
      one["rate"] = line.rate;
      one["unit"] = line.computes ? "FLOP/s" : "B/s";
      one["roofline_fraction"] = line.fraction;
    }
    all.push_back(std::move(one));
  }
  return all;
}

}  // namespace athanor::llm
