#include "engine/train/optimizer.h"

#include <algorithm>
#include <vector>

#include "common/error.h"
#include "engine/tensor/adamw.h"
#include "engine/tensor/adamw8.h"
#include "engine/tensor/copy.h"
#include "engine/tensor/muon.h"

namespace athanor::train {

using tensor::DType;
using tensor::Masters;
using tensor::Tensor;

namespace {

// What all of them need: consecutive elements of the parameters' buffers, and the options.
class Base : public Optimizer {
 protected:
  Base(const TrainOptions& options, const model::FlatParameters& parameters)
      : options_(options), parameters_(parameters) {}

  const model::Layout& layout() const { return parameters_.layout(); }
  Masters masters(std::int64_t begin, std::int64_t end) const {
    const Masters all = parameters_.masters();
    return {all.values.rows(begin, end), all.remainders ? all.remainders.rows(begin, end) : Tensor()};
  }
  Tensor gradients(std::int64_t begin, std::int64_t end) const { return parameters_.gradients().rows(begin, end); }
  tensor::AdamW adamw(const Update& how, bool decays) const {
    return {.rate = how.rate,
            .beta1 = options_.beta1,
            .beta2 = options_.beta2,
            .eps = options_.adam_eps,
            .weight_decay = decays ? options_.weight_decay : 0,
            .step = how.number,
            .gradient_scale = how.gradient_scale};
  }

  const TrainOptions& options_;
  const model::FlatParameters& parameters_;
};

// Consecutive parameters with the same decay are updated in one go.
class AdamWOptimizer final : public Base {
 public:
  AdamWOptimizer(const TrainOptions& options, const model::FlatParameters& parameters, tensor::MemoryPlan& plan)
      : Base(options, parameters),
        m_(plan.add("optimizer", "m", DType::kFloat32, {layout().size()})),
        v_(plan.add("optimizer", "v", DType::kFloat32, {layout().size()})) {
    for (const model::ParameterInfo& info : layout().all()) {
      const std::int64_t end = info.offset + info.count;
      if (!segments_.empty() && segments_.back().decays == info.decays) {
        segments_.back().end = end;
      } else {
        segments_.push_back({info.offset, end, info.decays});
      }
    }
  }

  void clear(tensor::Context& context) override {
    for (const Tensor& moment : {m_, v_}) tensor::clear(context, moment);
  }
  void update(tensor::Context& context, const Update& how) override {
    for (const auto& [begin, end, decays] : segments_) {
      tensor::adamw(context, adamw(how, decays), masters(begin, end), gradients(begin, end), m_.rows(begin, end),
                    v_.rows(begin, end));
    }
  }
  void add_state(TrainTensors& into) const override {
    into.add(layout(), "optimizer.m.", m_);
    into.add(layout(), "optimizer.v.", v_);
  }

 private:
  struct Segment {
    std::int64_t begin, end;
    bool decays;
  };
  const Tensor& m_;  // (size)
  const Tensor& v_;  // (size)
  std::vector<Segment> segments_;
};

// Each parameter by itself, so that no block of moments is of two: in a checkpoint every one has its scales beside it.
class AdamW8Optimizer final : public Base {
 public:
  AdamW8Optimizer(const TrainOptions& options, const model::FlatParameters& parameters, tensor::MemoryPlan& plan)
      : Base(options, parameters),
        m_(plan.add("optimizer", "m", DType::kUInt8, {layout().size()})),
        v_(plan.add("optimizer", "v", DType::kUInt8, {layout().size()})) {
    std::int64_t blocks = 0;
    for (const model::ParameterInfo& info : layout().all()) {
      first_block_.push_back(blocks);
      blocks += (info.count + tensor::kMoments8Block - 1) / tensor::kMoments8Block;
    }
    first_block_.push_back(blocks);
    m_scale_ = &plan.add("optimizer", "scales of m", DType::kFloat32, {blocks});
    v_scale_ = &plan.add("optimizer", "scales of v", DType::kFloat32, {blocks});
  }

  void clear(tensor::Context& context) override {
    for (std::size_t i = 0; i < layout().all().size(); ++i) clear_moments8(context, moments(i));
  }
  void update(tensor::Context& context, const Update& how) override {
    for (std::size_t i = 0; i < layout().all().size(); ++i) {
      const model::ParameterInfo& info = layout().all()[i];
      const std::int64_t begin = info.offset, end = begin + info.count;
      adamw8(context, adamw(how, info.decays), masters(begin, end), gradients(begin, end), moments(i));
    }
  }
  void add_state(TrainTensors& into) const override {
    into.add(layout(), "optimizer.m.", m_);
    into.add(layout(), "optimizer.v.", v_);
    for (const auto& [prefix, scales] : {std::pair{"optimizer.m_scale.", m_scale_}, {"optimizer.v_scale.", v_scale_}}) {
      into.buffers.push_back(*scales);
      if (!*scales) continue;
      for (std::size_t i = 0; i < layout().all().size(); ++i) {
        into.named.push_back({prefix + layout().all()[i].name, scales->rows(first_block_[i], first_block_[i + 1])});
      }
    }
  }

 private:
  tensor::Moments8 moments(std::size_t i) const {
    const model::ParameterInfo& info = layout().all()[i];
    const auto part = [&](const Tensor& flat) { return flat.rows(info.offset, info.offset + info.count); };
    const auto scales = [&](const Tensor* flat) { return flat->rows(first_block_[i], first_block_[i + 1]); };
    return {part(m_), part(v_), scales(m_scale_), scales(v_scale_)};
  }

  const Tensor& m_;  // (size)
  const Tensor& v_;  // (size)
  const Tensor* m_scale_;
  const Tensor* v_scale_;
  std::vector<std::int64_t> first_block_;  // by parameter, and the end
};

// Norms and biases lie among the matrices of the layers. A buffer holds the momentum of the matrices and AdamW's first moment
// of the others; the second moments of the others lie in one of their own.
class MuonOptimizer final : public Base {
 public:
  MuonOptimizer(const TrainOptions& options, const model::FlatParameters& parameters, tensor::MemoryPlan& plan)
      : Base(options, parameters), m_(plan.add("optimizer", "m", DType::kFloat32, {layout().size()})) {
    std::int64_t others = 0, scratch = 1;
    for (const model::ParameterInfo& info : layout().all()) {
      v_begin_.push_back(others);
      if (by_muon(info)) {
        scratch = std::max(scratch, tensor::muon_scratch(info.shape[0], info.shape[1]));
      } else {
        others += info.count;
      }
    }
    v_ = &plan.add("optimizer", "v", DType::kFloat32, {others});
    scratch_ = &plan.add("optimizer", "scratch", parameters.type(), {scratch});
  }

  void clear(tensor::Context& context) override {
    for (const Tensor& moment : {m_, *v_}) tensor::clear(context, moment);
  }
  void update(tensor::Context& context, const Update& how) override {
    for (std::size_t i = 0; i < layout().all().size(); ++i) {
      const model::ParameterInfo& info = layout().all()[i];
      const std::int64_t begin = info.offset, end = begin + info.count;
      if (by_muon(info)) {
        const auto matrix = [&](const Tensor& flat) { return flat.reshaped({info.shape[0], info.shape[1]}); };
        tensor::muon(context,
                     {.rate = how.rate,
                      .momentum = options_.muon_momentum,
                      .weight_decay = options_.weight_decay,
                      .gradient_scale = how.gradient_scale},
                     masters(begin, end), matrix(gradients(begin, end)), matrix(m_.rows(begin, end)), *scratch_);
      } else {
        tensor::adamw(context, adamw(how, info.decays), masters(begin, end), gradients(begin, end), m_.rows(begin, end),
                      v(i));
      }
    }
  }
  void add_state(TrainTensors& into) const override {
    into.add(layout(), "optimizer.m.", m_);
    into.buffers.push_back(*v_);
    if (!*v_) return;
    for (std::size_t i = 0; i < layout().all().size(); ++i) {
      const model::ParameterInfo& info = layout().all()[i];
      if (by_muon(info)) continue;
      into.named.push_back({"optimizer.v." + info.name, {DType::kFloat32, info.shape, v(i).data()}});
    }
  }

 private:
  Tensor v(std::size_t i) const { return v_->rows(v_begin_[i], v_begin_[i] + layout().all()[i].count); }

  const Tensor& m_;  // (size)
  const Tensor* v_;  // (elements that are AdamW's)
  const Tensor* scratch_;
  std::vector<std::int64_t> v_begin_;  // by parameter
};

}  // namespace

bool by_muon(const model::ParameterInfo& info) {
  return info.shape.size() == 2 && info.name.starts_with("model.layers.");
}

void check_optimizer(const std::string& name) {
  if (name == "adamw" || name == "adamw8" || name == "muon") return;
  throw Error(ErrorKind::kInvalid, "Training option optimizer is {}; it must be adamw, adamw8 or muon", name);
}

std::unique_ptr<Optimizer> plan_optimizer(const TrainOptions& options, const model::FlatParameters& parameters,
                                          tensor::MemoryPlan& plan) {
  check_optimizer(options.optimizer);
  if (options.optimizer == "adamw8") return std::make_unique<AdamW8Optimizer>(options, parameters, plan);
  if (options.optimizer == "muon") return std::make_unique<MuonOptimizer>(options, parameters, plan);
  return std::make_unique<AdamWOptimizer>(options, parameters, plan);
}

}  // namespace athanor::train
