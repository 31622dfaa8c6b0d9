#include "tessera/models/optim/optimizer.hpp"

namespace tessera::models {
namespace {

DType state_dtype(DType dtype) { return dtype == DType::f64 ? DType::f64 : DType::f32; }

std::vector<View> views_of(Inputs tensors) {
  std::vector<View> views;
  for (const Var& t : tensors) views.push_back(autograd::contiguous(t.value()).view());
  return views;
}

Stream& stream_of(std::string_view operation, Inputs tensors) {
  TS_CHECK(!tensors.empty(), operation, ": no tensors");
  return current_stream(tensors[0].device());
}

}  // namespace

void OptimizerState::prepare(Inputs parameters, bool first_moment, bool second_moment) {
  if (!master.empty()) {
    TS_CHECK(master.size() == parameters.size(), "optimizer: its state is for ", master.size(),
             " parameters, given are ", parameters.size());
    return;
  }
  TS_CHECK(!parameters.empty(), "optimizer: the model has no parameters");
  TS_CHECK(
      !current_stream(parameters[0].device()).recording(),
      "optimizer: its state must exist before a step is recorded: make one step before, or call "
      "`prepare`");
  for (const Var& p : parameters) {
    const DType dtype = state_dtype(p.dtype());
    first.push_back(first_moment ? Tensor::zeros(p.shape(), dtype, p.device()) : Tensor());
    second.push_back(second_moment ? Tensor::zeros(p.shape(), dtype, p.device()) : Tensor());
    master.push_back(is_half(p.dtype()) ? autograd::convert(p.value(), DType::f32) : Tensor());
  }
}

bool decays_weights_only(std::string_view path) {
  return path.find("bias") == path.npos && path.find("norm") == path.npos &&
         path.find("bn") == path.npos;
}

namespace detail {

StepGroups group(const Vars& parameters, const std::vector<std::string>& names, Inputs gradients,
                 const OptimizerState& state, const DecayFilter& decays) {
  TS_CHECK(parameters.size() == gradients.size(), "optimizer: ", parameters.size(),
           " parameters and ", gradients.size(), " gradients");
  StepGroups groups;
  groups.device = parameters[0].device();
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Var &p = parameters[i], &g = gradients[i];
    TS_CHECK(!p.traced() && !g.traced(), "optimizer: a step inside a running transform, at ",
             names[i]);
    TS_CHECK(p.shape() == g.shape() && p.device() == groups.device && g.device() == groups.device,
             "optimizer: gradient ", g, " for parameter ", names[i], ", ", p);
    TS_CHECK(p.value().contiguous(), "optimizer: ", names[i], " is not contiguous");
    groups.gradients.push_back(autograd::contiguous(g.value()));
    const kernels::OptimizerTensor tensor{
        p.value().view(), groups.gradients.back().view(), autograd::view_or_none(state.first[i]),
        autograd::view_or_none(state.second[i]), autograd::view_or_none(state.master[i])};
    (!decays || decays(names[i]) ? groups.decayed : groups.plain).push_back(tensor);
  }
  return groups;
}

void count_step(Stream& stream, OptimizerState& state) {
  if (stream.recording())
    stream.recording()->at_replay([&state] { ++state.steps; });
  else
    ++state.steps;
}

}  // namespace detail

double global_norm(Inputs gradients) {
  Stream& stream = stream_of("global_norm", gradients);
  Tensor norm = Tensor::empty({}, DType::f64, stream.device());
  kernels::global_norm(stream, views_of(gradients), norm.view());
  return norm.item();
}

void clip_global_norm(Vars& gradients, double limit) {
  TS_CHECK(limit > 0, "clip_global_norm: the limit must be positive, is ", limit);
  Stream& stream = stream_of("clip_global_norm", gradients);
  for (Var& g : gradients) g = Var(autograd::contiguous(g.value()));
  const std::vector<View> views = views_of(gradients);
  Tensor norm = Tensor::empty({}, DType::f64, stream.device());
  Tensor coefficient = Tensor::empty({}, DType::f64, stream.device());
  kernels::global_norm(stream, views, norm.view(), limit, coefficient.view());
  kernels::scale(stream, views, 1.0, coefficient.view());
}

bool all_finite(Inputs gradients) {
  return kernels::all_finite(stream_of("all_finite", gradients), views_of(gradients));
}

}  // namespace tessera::models
