#include "engine/tensor/attention.h"

#include <gtest/gtest.h>

#include <cmath>

#include "engine/tensor/test_support.h"

namespace athanor::tensor {
namespace {

using Doubles = std::vector<double>;

constexpr DType kTypes[] = {DType::kFloat32, DType::kBFloat16};

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

// The formulas of the header, whole, in float64.
struct Reference {
  AttentionShape s;
  Doubles q, k, v, d_o;
  std::vector<std::int32_t> starts;  // (B, T), or none
  Doubles o, lse, dq, dk, dv;

  void run() {
    const auto [B, T, H, G, D, window] = s;
    o.assign(q.size(), 0), dq.assign(q.size(), 0), dk.assign(k.size(), 0), dv.assign(k.size(), 0);
    lse.assign(at(B * H * T), 0);
    const double scale = 1 / std::sqrt(static_cast<double>(D));
    for (std::int64_t b = 0; b < B; ++b) {
      for (std::int64_t h = 0; h < H; ++h) {
        const std::int64_t g = h / (H / G);
        const auto q_at = [&](std::int64_t t, std::int64_t d) { return at(((b * T + t) * H + h) * D + d); };
        const auto k_at = [&](std::int64_t t, std::int64_t d) { return at(((b * T + t) * G + g) * D + d); };
        for (std::int64_t i = 0; i < T; ++i) {
          Doubles p(at(i + 1));
          double sum = 0, delta = 0;
          const std::int64_t start =
              std::max<std::int64_t>(starts.empty() ? 0 : starts[at(b * T + i)], window == 0 ? 0 : i - window + 1);
          for (std::int64_t j = start; j <= i; ++j) {
            double dot = 0;
            for (std::int64_t d = 0; d < D; ++d) dot += q[q_at(i, d)] * k[k_at(j, d)];
            p[at(j)] = std::exp(dot * scale);
            sum += p[at(j)];
          }
          lse[at((b * H + h) * T + i)] = std::log(sum);
          for (std::int64_t j = start; j <= i; ++j) {
            p[at(j)] /= sum;
            for (std::int64_t d = 0; d < D; ++d) o[q_at(i, d)] += p[at(j)] * v[k_at(j, d)];
          }
          for (std::int64_t d = 0; d < D; ++d) delta += d_o[q_at(i, d)] * o[q_at(i, d)];
          for (std::int64_t j = start; j <= i; ++j) {
            double dp = 0;
            for (std::int64_t d = 0; d < D; ++d) dp += d_o[q_at(i, d)] * v[k_at(j, d)];
            const double ds = p[at(j)] * (dp - delta) * scale;
            for (std::int64_t d = 0; d < D; ++d) {
              dv[k_at(j, d)] += p[at(j)] * d_o[q_at(i, d)];
              dq[q_at(i, d)] += ds * k[k_at(j, d)];
              dk[k_at(j, d)] += ds * q[q_at(i, d)];
            }
          }
        }
      }
    }
  }
};

// `documents`: where documents begin in every sequence, beside 0.
void compare(DType type, const AttentionShape& shape, int threads, double size,
             const std::vector<std::int32_t>& documents = {}) {
  SCOPED_TRACE(testing::Message() << name_of(type) << " B " << shape.batch << " T " << shape.length << " H "
                                  << shape.heads << " G " << shape.kv_heads << " D " << shape.head_dim << " window "
                                  << shape.window << " documents " << documents.size() + 1 << " threads " << threads);
  const auto [B, T, H, G, D, window] = shape;
  std::vector<std::int32_t> starts;
  if (!documents.empty()) {
    for (std::int64_t n = 0; n < B * T; ++n) {
      std::int32_t start = 0;
      // The second sequence is cut elsewhere than the first.
      for (const std::int32_t begin : documents) {
        start = begin + n / T <= n % T ? begin + static_cast<std::int32_t>(n / T) : start;
      }
      starts.push_back(start);
    }
  }
  const Tensor document_starts = starts.empty() ? Tensor() : Tensor::of(starts.data(), {B, T});
  const auto owned = [&](std::int64_t columns) { return Owned(type, {B * T, columns}); };
  Owned q = owned(H * D), k = owned(G * D), v = owned(G * D), d_o = owned(H * D);
  q.random(1, size), k.random(2, size), v.random(3), d_o.random(4);
  Reference reference{shape, q.doubles(), k.doubles(), v.doubles(), d_o.doubles(), starts, {}, {}, {}, {}, {}};
  reference.run();

  Context context(threads);
  Owned o = owned(H * D), lse{B, H, T}, dq = owned(H * D), dk = owned(G * D), dv = owned(G * D);
  Owned scratch{threads, attention_scratch_floats(shape, true)};
  scratch.fill(NAN);  // nothing may depend on what was there
  dq.fill(NAN), dk.fill(NAN), dv.fill(NAN);
  attention_forward(context, shape, q, k, v, o, lse, scratch, document_starts);
  EXPECT_LT(relative_error(o, reference.o), tolerance_of(type));
  // Relative to the sums of exponentials that it stands for: lse itself may be near 0.
  for (std::int64_t i = 0; i < B * H * T; ++i) EXPECT_NEAR(lse[i], reference.lse[at(i)], 2e-5);
  scratch.fill(NAN);
  attention_backward(context, shape, q, k, v, o, lse, d_o, dq, dk, dv, scratch, document_starts);
  // The softmax of a single key has no gradient: both are 0, and a ratio says nothing.
  if (T > 1 && window != 1) {
    // Backward sees o as it is stored, in delta.
    EXPECT_LT(relative_error(dq, reference.dq), 2 * tolerance_of(type));
    EXPECT_LT(relative_error(dk, reference.dk), 2 * tolerance_of(type));
  } else {
    for (std::int64_t i = 0; i < B * T * H * D; ++i) EXPECT_NEAR(dq[i], 0, type == DType::kFloat32 ? 1e-6 : 0.05);
  }
  EXPECT_LT(relative_error(dv, reference.dv), tolerance_of(type));

  // Few queries at a time against a cache give the same rows; a cache holds one document.
  if (!documents.empty()) return;
  Owned scores{threads, T}, o_cached(type, {T, H * D});
  for (std::int64_t t = 0; t < T; t += 3) {
    const std::int64_t end = std::min(t + 3, T);
    attention_cached(context, shape, t, q.view().rows(t, end), k.view().rows(0, T), v.view().rows(0, T),
                     o_cached.view().rows(t, end), scores);
  }
  EXPECT_LT(relative_error(o_cached, Doubles(reference.o.begin(), reference.o.begin() + T * H * D)),
            tolerance_of(type));
}

TEST(Attention, AgreesWithFloat64ForEveryKindOfShape) {
  for (const AttentionShape& shape : {
           AttentionShape{1, 1, 1, 1, 2},     // one token
           AttentionShape{3, 1, 4, 2, 8},     // sequences of one token
           AttentionShape{2, 5, 2, 1, 6},     // less than a tile
           AttentionShape{1, 64, 2, 2, 32},   // exactly one
           AttentionShape{1, 65, 3, 1, 16},   // one more
           AttentionShape{2, 128, 4, 2, 64},  //
           AttentionShape{1, 200, 6, 3, 20},  // a head size that fills no register
           AttentionShape{1, 131, 4, 4, 128},
       }) {
    for (const DType type : kTypes) {
      for (const int threads : {1, 3, 8}) compare(type, shape, threads, 1);
    }
  }
}

TEST(Attention, SeesTheWindowAndTheDocumentAlone) {
  for (const DType type : kTypes) {
    for (const std::int64_t window : {0, 1, 2, 64, 65, 130}) {
      const int threads = window % 2 == 0 ? 1 : 8;
      if (window > 0) {
        compare(type, {2, 5, 2, 1, 6, window}, threads, 1);
        compare(type, {1, 220, 2, 1, 8, window}, threads, 1);
      }
      compare(type, {2, 5, 2, 1, 6, window}, threads, 1, {2});
      compare(type, {2, 220, 2, 1, 8, window}, threads, 1, {1, 64, 65, 100, 200});
      compare(type, {1, 260, 2, 2, 8, window}, threads, 1, {127, 192});
    }
  }
}

TEST(Attention, StaysExactWhenScoresAreLarge) { compare(DType::kFloat32, {1, 150, 2, 1, 32}, 1, 4); }

TEST(Attention, WorksOnColumnsOfOneMatrix) {
  Context context(2);
  const AttentionShape shape{2, 70, 4, 2, 16};
  const auto [B, T, H, G, D, window] = shape;
  Owned qkv{B * T, (H + 2 * G) * D}, q{B * T, H * D}, k{B * T, G * D}, v{B * T, G * D};
  qkv.random(1);
  for (std::int64_t n = 0; n < B * T; ++n) {
    const float* row = qkv.view().f32() + n * (H + 2 * G) * D;
    std::copy(row, row + H * D, q.view().f32() + n * H * D);
    std::copy(row + H * D, row + (H + G) * D, k.view().f32() + n * G * D);
    std::copy(row + (H + G) * D, row + (H + 2 * G) * D, v.view().f32() + n * G * D);
  }
  Owned o{B * T, H * D}, o_apart{B * T, H * D}, lse{B, H, T}, scratch{2, attention_scratch_floats(shape, false)};
  attention_forward(context, shape, q, k, v, o_apart, lse, scratch);
  attention_forward(context, shape, qkv.view().columns(0, H * D), qkv.view().columns(H * D, (H + G) * D),
                    qkv.view().columns((H + G) * D, (H + 2 * G) * D), o, lse, scratch);
  EXPECT_EQ(o.doubles(), o_apart.doubles());
}

}  // namespace
}  // namespace athanor::tensor
