#include "engine/model/linear.h"

#include <gtest/gtest.h>

#include "engine/tensor/test_support.h"

namespace athanor::model {
namespace {

using tensor::Context;
using tensor::DType;
using tensor::Owned;
using tensor::Tensor;
using Doubles = std::vector<double>;

constexpr std::int64_t kRows = 23, kIn = 64, kOut = 50, kRank = 5;
constexpr float kScale = 1.5F;

double at(const Doubles& x, std::int64_t columns, std::int64_t i, std::int64_t j) {
  return x[static_cast<std::size_t>(i * columns + j)];
}

// C (m, n) += scale · A · B, either perhaps turned; plain doubles.
void add_product(Doubles& c, std::int64_t m, std::int64_t n, std::int64_t k, double scale, const Doubles& a,
                 bool a_turned, const Doubles& b, bool b_turned) {
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (std::int64_t p = 0; p < k; ++p) {
        sum += (a_turned ? at(a, m, p, i) : at(a, k, i, p)) * (b_turned ? at(b, k, j, p) : at(b, n, p, j));
      }
      c[static_cast<std::size_t>(i * n + j)] += scale * sum;
    }
  }
}

struct Case {
  DType type;
  bool quantized;
  float dropout;
};

// Two adapters on columns 0 to 20 and 30 to 50 of y, which leaves some without.
TEST(Linear, AdaptersFollowTheFormulasInFloat64) {
  Context context(2);
  constexpr std::int64_t kBegin[] = {0, 30}, kEnd[] = {20, 50};
  for (const Case& c :
       {Case{DType::kFloat32, false, 0}, Case{DType::kFloat32, false, 0.3F}, Case{DType::kFloat32, true, 0.3F},
        Case{DType::kBFloat16, false, 0.3F}, Case{DType::kBFloat16, true, 0}}) {
    Owned x(c.type, {kRows, kIn}), w(c.type, {kOut, kIn}), dy(c.type, {kRows, kOut}), a(c.type, {2 * kRank, kIn});
    Owned b0(c.type, {20, kRank}), b1(c.type, {20, kRank}), y(c.type, {kRows, kOut}), dx(c.type, {kRows, kIn});
    Owned low(c.type, {kRows, 2 * kRank}), dropped(c.type, {kRows + 3, kIn + 7}), d_low(c.type, {kRows, 3 * kRank});
    Owned d_a{2 * kRank, kIn}, d_b0{20, kRank}, d_b1{20, kRank};
    std::uint64_t seed = 1;
    for (Owned* random : {&x, &w, &dy, &a, &b0, &b1, &d_a, &d_b0, &d_b1}) random->random(seed++);

    std::vector<std::uint8_t> memory(kOut * kIn / 32 * 34);
    tensor::Weight weight = w.view();
    Doubles w64 = w.doubles();
    if (c.quantized) {
      Owned floats{kOut, kIn};
      floats.random(20);
      const tensor::Quantized blocks(tensor::BlockType::kQ8_0, kOut, kIn, memory.data());
      quantize(context, floats, blocks);
      dequantize(context, blocks, floats);
      w64 = floats.doubles();
      weight = blocks;
    }
    Linear layer{.weight = weight,
                 .d_weight = {},
                 .lora = {.a = a, .d_a = d_a, .scale = kScale, .count = 2, .parts = {}}};
    layer.lora.parts[0] = {b0, d_b0, kBegin[0], kEnd[0]};
    layer.lora.parts[1] = {b1, d_b1, kBegin[1], kEnd[1]};

    const tensor::Dropout dropout{.rate = c.dropout, .key = 7, .first_row = 100};
    Owned masked(c.type, {kRows, kIn});
    tensor::dropout_forward(context, dropout, x, masked);
    Owned ones{kRows, kIn}, mask{kRows, kIn};
    ones.fill(1);
    tensor::dropout_forward(context, dropout, ones, mask);

    Doubles y64(kRows * kOut), u64(kRows * 2 * kRank), du64(kRows * 2 * kRank), dx64(kRows * kIn),
        d_dropped(kRows * kIn);
    Doubles d_a64 = d_a.doubles(), d_b64[] = {d_b0.doubles(), d_b1.doubles()};
    add_product(y64, kRows, kOut, kIn, 1, x.doubles(), false, w64, true);
    add_product(u64, kRows, 2 * kRank, kIn, kScale, masked.doubles(), false, a.doubles(), true);
    add_product(dx64, kRows, kIn, kOut, 1, dy.doubles(), false, w64, false);
    const Owned* bs[] = {&b0, &b1};
    for (std::size_t part = 0; part < 2; ++part) {
      Doubles u, d_part, du(kRows * kRank), y_part(kRows * 20);
      for (std::int64_t n = 0; n < kRows; ++n) {
        for (std::int64_t i = 0; i < kRank; ++i) {
          u.push_back(at(u64, 2 * kRank, n, static_cast<std::int64_t>(part) * kRank + i));
        }
        for (std::int64_t o = kBegin[part]; o < kEnd[part]; ++o) d_part.push_back(dy[n * kOut + o]);
      }
      add_product(y_part, kRows, 20, kRank, 1, u, false, bs[part]->doubles(), true);
      add_product(d_b64[part], 20, kRank, kRows, 1, d_part, true, u, false);
      add_product(du, kRows, kRank, 20, kScale, d_part, false, bs[part]->doubles(), false);
      for (std::int64_t n = 0; n < kRows; ++n) {
        for (std::int64_t i = 0; i < kRank; ++i) {
          du64[static_cast<std::size_t>(n * 2 * kRank) + part * kRank + static_cast<std::size_t>(i)] =
              at(du, kRank, n, i);
        }
        for (std::int64_t o = 0; o < 20; ++o) {
          y64[static_cast<std::size_t>(n * kOut + kBegin[part] + o)] += at(y_part, 20, n, o);
        }
      }
    }
    add_product(d_a64, 2 * kRank, kIn, kRows, 1, du64, true, masked.doubles(), false);
    add_product(d_dropped, kRows, kIn, 2 * kRank, 1, du64, false, a.doubles(), false);
    for (std::size_t i = 0; i < dx64.size(); ++i) dx64[i] += d_dropped[i] * mask[static_cast<std::int64_t>(i)];

    const LinearScratch scratch{dropped, d_low};
    linear_forward(context, layer, dropout, x, y, low, scratch);
    linear_backward(context, layer, dropout, x, dy, dx, low, scratch);
    // In bfloat16 u is rounded on its way, and so is what is added to.
    const double tolerance = c.type == DType::kFloat32 ? tensor::kTolerance : 2 * tensor::kTolerance16;
    EXPECT_LT(relative_error(y, y64), tolerance);
    EXPECT_LT(relative_error(dx, dx64), tolerance);
    EXPECT_LT(relative_error(d_a, d_a64), tolerance);
    EXPECT_LT(relative_error(d_b0, d_b64[0]), tolerance);
    EXPECT_LT(relative_error(d_b1, d_b64[1]), tolerance);
  }
}

}  // namespace
}  // namespace athanor::model
