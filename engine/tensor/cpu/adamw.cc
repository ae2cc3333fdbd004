#include "engine/tensor/adamw.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "engine/tensor/adamw8.h"
#include "engine/tensor/copy.h"
#include "engine/tensor/cpu/chunks.h"
#include "engine/tensor/cpu/rows.h"
#include "engine/tensor/operator_times.h"

namespace athanor::tensor {

namespace {

cpu::AdamWStep step_of(const AdamW& how) {
  ATHANOR_ASSERT(how.step >= 1);
  const double correction1 = 1 - std::pow(how.beta1, static_cast<double>(how.step));
  const double correction2 = 1 - std::pow(how.beta2, static_cast<double>(how.step));
  return {
      .keep = static_cast<float>(1 - how.rate * how.weight_decay),
      .beta1 = static_cast<float>(how.beta1),
      .rest1 = static_cast<float>(1 - how.beta1),
      .beta2 = static_cast<float>(how.beta2),
      .rest2 = static_cast<float>(1 - how.beta2),
      .step_size = static_cast<float>(how.rate / correction1),
      .root_correction = static_cast<float>(1 / std::sqrt(correction2)),
      .eps = static_cast<float>(how.eps),
      .gradient_scale = static_cast<float>(how.gradient_scale),
  };
}

// A moment's codes: what each stands for, and how the nearest is found.
struct Codes {
  std::array<float, 256> value{};
  cpu::Decades decades{};
};

Codes make_codes(bool with_sign) {
  Codes codes;
  cpu::Decades& d = codes.decades;
  const int zero = with_sign ? 127 : 0;
  d.zero = static_cast<float>(zero);
  double below = 0;  // the code before
  int code = 1;
  for (int decade = 0; decade < cpu::kDecades; ++decade) {
    const int parts = 1 << (with_sign ? decade : decade + 1);
    const double unit = std::pow(10.0, decade - (cpu::kDecades - 1));
    const auto value = [&](int part) { return unit * (0.1 + 0.9 * (part + 0.5) / parts); };
    d.limit[decade] = static_cast<float>((below + value(0)) / 2);
    d.low[decade] = static_cast<float>(0.1 * unit);
    d.per_code[decade] = static_cast<float>(parts / (0.9 * unit));
    d.first[decade] = static_cast<float>(code);
    for (int part = 0; part < parts; ++part, ++code) {
      codes.value[static_cast<std::size_t>(zero + code)] = static_cast<float>(value(part));
      if (with_sign) codes.value[static_cast<std::size_t>(zero - code)] = static_cast<float>(-value(part));
    }
    d.last[decade] = static_cast<float>(code - 1);
    below = value(parts - 1);
  }
  d.limit[cpu::kDecades] = static_cast<float>((below + 1) / 2);
  d.first[cpu::kDecades] = d.last[cpu::kDecades] = static_cast<float>(code);
  d.last_negative = static_cast<float>(code - 1);
  codes.value[static_cast<std::size_t>(zero + code)] = 1;
  return codes;
}

// Below this a block's moments are stored as zeros: one over it is still a float.
constexpr float kScaleMin = 1e-30F;

void encode(const Codes& codes, std::int64_t count, const float* from, std::uint8_t* into, float* scale) {
  const float largest = cpu::kernels().largest_magnitude(count, from);
  *scale = largest < kScaleMin ? 0 : largest;
  cpu::kernels().encode8(count, from, *scale > 0 ? 1 / *scale : 0, codes.decades, into);
}

const Codes& codes_of_m() {
  static const Codes codes = make_codes(true);
  return codes;
}

const Codes& codes_of_v() {
  static const Codes codes = make_codes(false);
  return codes;
}

}  // namespace

void split_masters(const Tensor& floats, const Masters& masters) {
  cpu::assert_masters(masters, floats.count());
  if (masters.values.type() == DType::kFloat32) {
    std::copy_n(floats.f32(), floats.count(), masters.values.f32());
  } else {
    cpu::kernels().split(floats.count(), floats.f32(), masters.values.bf16(), masters.remainders.i16());
  }
}

void join_masters(const Masters& masters, const Tensor& floats) {
  cpu::assert_masters(masters, floats.count());
  if (masters.values.type() == DType::kFloat32) {
    std::copy_n(masters.values.f32(), floats.count(), floats.f32());
  } else {
    cpu::kernels().join(floats.count(), masters.values.bf16(), masters.remainders.i16(), floats.f32());
  }
}

void adamw(Context& context, const AdamW& how, const Masters& parameters, const Tensor& gradients, const Tensor& m,
           const Tensor& v) {
  const OperatorTimer timer(context, "adamw", [&] {
    return bytes_of(parameters.values, parameters.values, parameters.remainders, parameters.remainders, gradients, m, m,
                    v, v);
  });
  ATHANOR_ASSERT(m.count() == gradients.count() && v.count() == gradients.count());
  const cpu::AdamWStep step = step_of(how);
  float* m_data = m.floats().data();
  float* v_data = v.floats().data();
  ATHANOR_ASSERT(gradients.contiguous() && gradients.count() == parameters.values.count());
  cpu::in_chunks(context, parameters, [&](std::int64_t first, std::int64_t count, float* p) {
    float copy[cpu::kChunk];
    const float* g = cpu::as_floats(gradients, first, count, copy);
    cpu::kernels().adamw(count, step, g, p, m_data + first, v_data + first);
  });
}

void clear_moments8(Context& context, const Moments8& moments) {
  std::fill_n(moments.m.u8(), moments.m.count(), static_cast<std::uint8_t>(codes_of_m().decades.zero));
  std::fill_n(moments.v.u8(), moments.v.count(), static_cast<std::uint8_t>(codes_of_v().decades.zero));
  for (const Tensor& scale : {moments.m_scale, moments.v_scale}) clear(context, scale);
}

void adamw8(Context& context, const AdamW& how, const Masters& parameters, const Tensor& gradients,
            const Moments8& moments) {
  const OperatorTimer timer(context, "adamw8", [&] {
    return bytes_of(parameters.values, parameters.values, parameters.remainders, parameters.remainders, gradients,
                    moments.m, moments.m, moments.v, moments.v);
  });
  const std::int64_t count = gradients.count(), blocks = (count + kMoments8Block - 1) / kMoments8Block;
  ATHANOR_ASSERT(moments.m.count() == count && moments.m.contiguous());
  ATHANOR_ASSERT(moments.v.count() == count && moments.v.contiguous());
  ATHANOR_ASSERT(moments.m_scale.count() == blocks && moments.v_scale.count() == blocks);
  static_assert(cpu::kChunk == kMoments8Block && cpu::kChunksGrain % kMoments8Block == 0);
  ATHANOR_ASSERT(gradients.contiguous() && count == parameters.values.count());
  const cpu::AdamWStep step = step_of(how);
  const Codes &m_codes = codes_of_m(), &v_codes = codes_of_v();
  float* m_scale = moments.m_scale.floats().data();
  float* v_scale = moments.v_scale.floats().data();
  cpu::in_chunks(context, parameters, [&](std::int64_t first, std::int64_t size, float* p) {
    const cpu::Kernels& kernels = cpu::kernels();
    const std::int64_t block = first / kMoments8Block;
    float copy[cpu::kChunk], m[kMoments8Block], v[kMoments8Block];
    const float* g = cpu::as_floats(gradients, first, size, copy);
    kernels.decode8(size, moments.m.u8() + first, m_codes.value.data(), m_scale[block], m);
    kernels.decode8(size, moments.v.u8() + first, v_codes.value.data(), v_scale[block], v);
    kernels.adamw(size, step, g, p, m, v);
    encode(m_codes, size, m, moments.m.u8() + first, m_scale + block);
    encode(v_codes, size, v, moments.v.u8() + first, v_scale + block);
  });
}

// Always the same blocks, whose sums are added in order, whatever the number of threads.
double squared_norm(Context& context, const Tensor& x) {
  const OperatorTimer timer(context, "squared norm", [&] { return bytes_of(x); });
  constexpr std::int64_t kBlocks = 256;
  ATHANOR_ASSERT(x.contiguous());
  const std::int64_t count = x.count();
  const std::int64_t block = (count + kBlocks - 1) / kBlocks;
  std::array<double, kBlocks> sums{};
  cpu::by_type(x.type(), [&]<class Element>(Element, const auto& kernels) {
    const auto* values = static_cast<const Element*>(x.data());
    context.parallel(kBlocks, std::max<std::int64_t>(1, kBlocks * cpu::kChunksGrain / std::max<std::int64_t>(1, count)),
                     [&](std::int64_t begin, std::int64_t end, int) {
                       for (std::int64_t i = begin; i < end; ++i) {
                         const std::int64_t from = std::min(i * block, count);
                         const std::int64_t to = std::min(from + block, count);
                         sums[static_cast<std::size_t>(i)] = kernels.squared_norm(to - from, values + from);
                       }
                     });
  });
  double sum = 0;
  for (const double part : sums) sum += part;
  return sum;
}

}  // namespace athanor::tensor
