#include <algorithm>
#include <cmath>
#include <numbers>

#include "engine/tensor/rope.h"

namespace athanor::tensor {

namespace {

double llama3_frequency(double frequency, const RopeScaling& s) {
  const double turns = s.original_length * frequency / (2 * std::numbers::pi);  // within the original length
  if (turns > s.high_frequency) return frequency;
  if (turns < s.low_frequency) return frequency / s.factor;
  const double kept = (turns - s.low_frequency) / (s.high_frequency - s.low_frequency);
  return (1 - kept) * frequency / s.factor + kept * frequency;
}

// How much of pair i's own frequency is kept: 1 below the pair that turns beta_fast times, 0 above that of beta_slow.
double yarn_kept(std::int64_t i, double theta, std::int64_t head_dim, const RopeScaling& s) {
  const auto D = static_cast<double>(head_dim);
  const auto pair_that_turns = [&](double times) {
    return D * std::log(s.original_length / (times * 2 * std::numbers::pi)) / (2 * std::log(theta));
  };
  const double low = std::max(std::floor(pair_that_turns(s.beta_fast)), 0.0);
  double high = std::min(std::ceil(pair_that_turns(s.beta_slow)), D - 1);
  if (low == high) high += 0.001;
  return 1 - std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
}

}  // namespace

std::vector<double> rope_frequencies(double theta, std::int64_t head_dim, const RopeScaling& scaling) {
  ATHANOR_ASSERT(head_dim > 0 && head_dim % 2 == 0);
  std::vector<double> frequencies(static_cast<std::size_t>(head_dim / 2));
  for (std::int64_t i = 0; i < head_dim / 2; ++i) {
    const double own = std::pow(theta, -2 * static_cast<double>(i) / static_cast<double>(head_dim));
    double& frequency = frequencies[static_cast<std::size_t>(i)];
    switch (scaling.kind) {
      case RopeScaling::Kind::kNone: frequency = own; break;
      case RopeScaling::Kind::kLinear: frequency = own / scaling.factor; break;
      case RopeScaling::Kind::kLlama3: frequency = llama3_frequency(own, scaling); break;
      case RopeScaling::Kind::kYarn: {
        const double kept = yarn_kept(i, theta, head_dim, scaling);
        frequency = (1 - kept) * own / scaling.factor + kept * own;
        break;
      }
    }
  }
  return frequencies;
}

void rope_table(double theta, const Tensor& cos, const Tensor& sin, const RopeScaling& scaling) {
  const std::int64_t T = cos.dim(0), half = cos.dim(1);
  ATHANOR_ASSERT(cos.rank() == 2 && cos.contiguous() && sin.rank() == 2 && sin.contiguous());
  ATHANOR_ASSERT(sin.dim(0) == T && sin.dim(1) == half);
  const std::vector<double> frequencies = rope_frequencies(theta, 2 * half, scaling);
  const double size = scaling.kind == RopeScaling::Kind::kYarn ? scaling.attention : 1;
  for (std::int64_t t = 0; t < T; ++t) {
    for (std::int64_t i = 0; i < half; ++i) {
      const double angle = static_cast<double>(t) * frequencies[static_cast<std::size_t>(i)];
      cos.f32()[t * half + i] = static_cast<float>(std::cos(angle) * size);
      sin.f32()[t * half + i] = static_cast<float>(std::sin(angle) * size);
    }
  }
}

}  // namespace athanor::tensor
