// What the operators' tests share: numbers to compute on, and the measure of error.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/random.h"
#include "engine/tensor/tensor.h"

namespace athanor::tensor {

// An owned tensor for a test.
class Owned {
 public:
  Owned(std::initializer_list<std::int64_t> shape) : Owned(DType::kFloat32, shape) {}
  Owned(DType type, std::initializer_list<std::int64_t> shape) : view_(type, shape) {
    memory_.resize(view_.bytes());
    view_.set_data(memory_.data());
  }
  Owned(const Owned& other) : memory_(other.memory_), view_(other.view_) { view_.set_data(memory_.data()); }
  // Uniform in [−scale, scale], rounded to the type.
  Owned& random(std::uint64_t seed, double scale = 1) {
    SeededRandom random(seed);
    for (std::int64_t i = 0; i < view_.count(); ++i) set(i, static_cast<float>((2 * random.uniform() - 1) * scale));
    return *this;
  }
  Owned& fill(float value) {
    for (std::int64_t i = 0; i < view_.count(); ++i) set(i, value);
    return *this;
  }
  void set(std::int64_t i, float value) {
    ATHANOR_ASSERT(i < view_.count());
    if (view_.type() == DType::kBFloat16) {
      view_.bf16()[i] = BFloat16(value);
    } else {
      view_.f32()[i] = value;
    }
  }
  const Tensor& view() const { return view_; }
  operator const Tensor&() const { return view_; }
  float operator[](std::int64_t i) const { return view_.type() == DType::kBFloat16 ? view_.bf16()[i] : view_.f32()[i]; }
  std::vector<double> doubles() const {
    std::vector<double> values;
    for (std::int64_t i = 0; i < view_.count(); ++i) values.push_back((*this)[i]);
    return values;
  }

 private:
  std::vector<std::byte> memory_;
  Tensor view_;
};

inline std::vector<double> doubles(const Tensor& x) {
  if (x.type() == DType::kBFloat16) return {x.bfloats().begin(), x.bfloats().end()};
  return {x.floats().begin(), x.floats().end()};
}

// ‖a − b‖₂ / ‖b‖₂
inline double relative_error(const Tensor& a, const std::vector<double>& b) {
  double difference = 0, norm = 0;
  const std::vector<double> values = doubles(a);
  EXPECT_EQ(values.size(), b.size());
  for (std::size_t i = 0; i < b.size(); ++i) {
    difference += (values[i] - b[i]) * (values[i] - b[i]);
    norm += b[i] * b[i];
  }
  return norm == 0 ? std::sqrt(difference) : std::sqrt(difference / norm);
}

inline constexpr double kTolerance = 1e-5;
// Of numbers that were computed in float32 and rounded to bfloat16 once: 2⁻⁸ each, at most, and the rest.
inline constexpr double kTolerance16 = 0x1p-8 + kTolerance;
inline double tolerance_of(DType type) { return type == DType::kBFloat16 ? kTolerance16 : kTolerance; }

}  // namespace athanor::tensor
