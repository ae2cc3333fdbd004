// What the operators' tests share: numbers to compute on, and the measure of error.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "common/random.h"
#include "engine/tensor/tensor.h"

namespace athanor::tensor {

// An owned tensor for a test.
class Owned {
 public:
  Owned(std::initializer_list<std::int64_t> shape) : view_(DType::kFloat32, shape) {
    values_.resize(static_cast<std::size_t>(view_.count()));
    view_.set_data(values_.data());
  }
  Owned(const Owned& other) : values_(other.values_), view_(other.view_) { view_.set_data(values_.data()); }
  // Uniform in [−scale, scale].
  Owned& random(std::uint64_t seed, double scale = 1) {
    SeededRandom random(seed);
    for (float& value : values_) value = static_cast<float>((2 * random.uniform() - 1) * scale);
    return *this;
  }
  Owned& fill(float value) {
    values_.assign(values_.size(), value);
    return *this;
  }
  const Tensor& view() const { return view_; }
  operator const Tensor&() const { return view_; }
  float operator[](std::int64_t i) const { return values_[static_cast<std::size_t>(i)]; }
  std::vector<double> doubles() const { return {values_.begin(), values_.end()}; }

 private:
  std::vector<float> values_;
  Tensor view_;
};

// ‖a − b‖₂ / ‖b‖₂
inline double relative_error(const Tensor& a, const std::vector<double>& b) {
  double difference = 0, norm = 0;
  const auto values = a.floats();
  EXPECT_EQ(values.size(), b.size());
  for (std::size_t i = 0; i < b.size(); ++i) {
    difference += (values[i] - b[i]) * (values[i] - b[i]);
    norm += b[i] * b[i];
  }
  return norm == 0 ? std::sqrt(difference) : std::sqrt(difference / norm);
}

inline constexpr double kTolerance = 1e-5;

}  // namespace athanor::tensor
