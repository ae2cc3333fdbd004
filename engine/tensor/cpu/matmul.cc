#include "engine/tensor/matmul.h"

#include <omp.h>

#include <cstdlib>
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>

#include "engine/tensor/cpu/kernels.h"
#include "engine/tensor/cpu/products.h"
#include "engine/tensor/operator_times.h"

namespace athanor::tensor {

namespace {

// What a prepared product depends on: types, sizes, strides, and whether it adds.
struct Key {
  DType type, c_type;  // of A and B, of C
  std::int64_t m, n, k;
  std::int64_t a_row, a_column, b_row, b_column, c_row;
  Into into;
  bool operator==(const Key&) const = default;
};

struct KeyHash {
  std::size_t operator()(const Key& key) const {
    std::uint64_t hash = static_cast<std::uint64_t>(key.into) | static_cast<std::uint64_t>(key.type) << 8 |
                         static_cast<std::uint64_t>(key.c_type) << 16;
    for (const std::int64_t part : {key.m, key.n, key.k, key.a_row, key.a_column, key.b_row, key.b_column, key.c_row}) {
      hash = (hash ^ static_cast<std::uint64_t>(part)) * 0x9E3779B97F4A7C15ULL;
      hash ^= hash >> 29;
    }
    return hash;
  }
};

// Shapes are few: those of the plan, and the lengths of prompts.
constexpr std::size_t kPreparedMax = 4096;
// Below this many multiplications the other threads would wake up for nothing.
constexpr std::int64_t kSmall = 64 * 64 * 64;
// Parts of C are multiples of this: of every register tile's rows and, but for 16 lanes, of half its columns.
constexpr std::int64_t kGrain = 48;
constexpr std::int64_t kScratchBytes = (cpu::kProductScratch * static_cast<std::int64_t>(sizeof(float)) + 63) / 64 * 64;

dnnl::memory::data_type onednn_type(DType type) {
  return type == DType::kBFloat16 ? dnnl::memory::data_type::bf16 : dnnl::memory::data_type::f32;
}

Work product_work(const Tensor& a, const Tensor& b, const Tensor& c, Into into) {
  Work work = bytes_of(a, b, c, into == Into::kAdd ? c : Tensor());
  work.flops = 2.0 * static_cast<double>(c.dim(0)) * static_cast<double>(c.dim(1)) * static_cast<double>(a.dim(1));
  return work;
}

struct Free {
  void operator()(float* memory) const { std::free(memory); }
};

}  // namespace

struct Context::Products::OfThread {
  struct Prepared {
    dnnl::matmul primitive;
    dnnl::memory a, b, c;
    std::unordered_map<int, dnnl::memory> arguments;
  };

  std::unique_ptr<float, Free> scratch{
      static_cast<float*>(std::aligned_alloc(64, static_cast<std::size_t>(kScratchBytes)))};
  std::unique_ptr<float, Free> panel;
  std::int64_t panel_bytes = 0;
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  std::unordered_map<Key, Prepared, KeyHash> prepared;

  Prepared& prepare(const Key& key) {
    const auto found = prepared.find(key);
    if (found != prepared.end()) return found->second;
    if (prepared.size() >= kPreparedMax) prepared.clear();
    using dnnl::memory;
    const memory::desc a({key.m, key.k}, onednn_type(key.type), memory::dims{key.a_row, key.a_column});
    const memory::desc b({key.k, key.n}, onednn_type(key.type), memory::dims{key.b_row, key.b_column});
    const memory::desc c({key.m, key.n}, onednn_type(key.c_type), memory::dims{key.c_row, 1});
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    if (key.into == Into::kAdd) {
      dnnl::post_ops after;
      after.append_sum(1.0F);
      attributes.set_post_ops(after);
    }
    const dnnl::matmul::primitive_desc description(dnnl::matmul::desc(a, b, c), attributes, engine);
    Prepared made{dnnl::matmul(description),
                  memory(a, engine, nullptr),
                  memory(b, engine, nullptr),
                  memory(c, engine, nullptr),
                  {}};
    made.arguments = {{DNNL_ARG_SRC, made.a},
                      {DNNL_ARG_WEIGHTS, made.b},
                      {DNNL_ARG_DST, made.c},
                      {DNNL_ARG_SCRATCHPAD, memory(description.scratchpad_desc(), engine)}};
    return prepared.emplace(key, std::move(made)).first->second;
  }

  void run_onednn(const Tensor& a, const Tensor& b, const Tensor& c, Into into) {
    omp_set_num_threads(1);  // our threads divide the work, not oneDNN's
    Prepared& product = prepare({a.type(), c.type(), c.dim(0), c.dim(1), a.dim(1), a.stride(0), a.stride(1),
                                 b.stride(0), b.stride(1), c.stride(0), into});
    product.a.set_data_handle(a.data());
    product.b.set_data_handle(b.data());
    product.c.set_data_handle(c.data());
    product.primitive.execute(stream, product.arguments);
  }

  void run(const Tensor& a, const Tensor& b, const Tensor& c, Into into) {
    const cpu::Kernels& kernels = cpu::kernels();
    const bool wide = a.type() == DType::kFloat32, into_wide = c.type() == DType::kFloat32;
    if (c.dim(0) > cpu::kFewRows && (wide ? kernels.onednn_f32 && into_wide : kernels.onednn_bf16)) {
      return run_onednn(a, b, c, into);
    }
    const cpu::ProductTask task{.m = c.dim(0),
                                .n = c.dim(1),
                                .k = a.dim(1),
                                .a = a.data(),
                                .a_row = a.stride(0),
                                .a_column = a.stride(1),
                                .b = b.data(),
                                .b_row = b.stride(0),
                                .b_column = b.stride(1),
                                .c = c.data(),
                                .c_row = c.stride(0),
                                .add_to = into == Into::kAdd,
                                .scratch = scratch.get()};
    if (wide) return (into_wide ? kernels.f32.product : kernels.f32.product_into_bf16)(task);
    return (into_wide ? kernels.bf16.product : kernels.bf16.product_into_bf16)(task);
  }
};

Context::Products::Products(int threads) {
  for (int i = 0; i < threads; ++i) of_thread.push_back(std::make_unique<OfThread>());
}

Context::Products::~Products() = default;

void Context::Products::run(int thread, const Tensor& a, const Tensor& b, const Tensor& c, Into into) {
  of_thread[static_cast<std::size_t>(thread)]->run(a, b, c, into);
}

void* Context::Products::panel(int thread, std::int64_t bytes) {
  OfThread& own = *of_thread[static_cast<std::size_t>(thread)];
  if (bytes > own.panel_bytes) {
    own.panel.reset(static_cast<float*>(std::aligned_alloc(64, static_cast<std::size_t>((bytes + 63) / 64 * 64))));
    if (!own.panel) {
      throw Error(ErrorKind::kExhausted, "No memory for {} bytes of weights to multiply with: take fewer threads",
                  bytes);
    }
    own.panel_bytes = bytes;
  }
  return own.panel.get();
}

void matmul(Context& context, const Tensor& a, const Tensor& b, const Tensor& c, Into into) {
  const OperatorTimer timer(context, "matrix products", [&] { return product_work(a, b, c, into); });
  ATHANOR_ASSERT(a.type() == b.type() && a.type() != DType::kInt32 && c.type() != DType::kInt32);
  ATHANOR_ASSERT(a.rank() == 2 && b.rank() == 2 && c.rank() == 2);
  const std::int64_t m = c.dim(0), n = c.dim(1), k = a.dim(1);
  ATHANOR_ASSERT(a.dim(0) == m && b.dim(0) == k && b.dim(1) == n);
  ATHANOR_ASSERT((a.stride(0) == 1 || a.stride(1) == 1) && (b.stride(0) == 1 || b.stride(1) == 1));
  ATHANOR_ASSERT(c.stride(1) == 1 && k > 0);
  if (m == 0 || n == 0) return;
  Context::Products& products = context.products();
  if (m * n * k <= kSmall) return products.of_thread[0]->run(a, b, c, into);
  // Each thread makes a part of C, cut along its longer side; no sum is ever divided, so that the result does not
  // depend on the cut.
  if (m >= n) {
    context.parallel(m, kGrain, [&](std::int64_t begin, std::int64_t end, int thread) {
      products.of_thread[static_cast<std::size_t>(thread)]->run(a.rows(begin, end), b, c.rows(begin, end), into);
    });
  } else {
    context.parallel(n, kGrain, [&](std::int64_t begin, std::int64_t end, int thread) {
      products.of_thread[static_cast<std::size_t>(thread)]->run(a, b.columns(begin, end), c.columns(begin, end), into);
    });
  }
}

}  // namespace athanor::tensor
