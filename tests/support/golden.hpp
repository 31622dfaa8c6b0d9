#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/models/module.hpp"
#include "tessera/runtime/io/safetensors.hpp"

/// Reference values of a named PyTorch version, and the inputs they were made from
/// (tests/golden/README.md).
namespace tessera::test {

inline uint64_t fnv1a64(std::string_view text) {
  uint64_t hash = 0xCBF29CE484222325u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  return hash;
}

// The value formula of tests/golden/README.md.
inline double formula(std::string_view name, uint64_t i) {
  uint64_t z = fnv1a64(name) + (i + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  z ^= z >> 31;
  return static_cast<double>(z >> 40) * 0x1p-23 - 1.0;
}

inline Tensor formula_tensor(const std::string& name, const Shape& shape, double offset,
                             double scale) {
  Tensor t = Tensor::empty(shape, DType::f64, Device::cpu());
  const auto out = t.host_mutable<double>();
  for (size_t i = 0; i < out.size(); ++i) out[i] = offset + scale * formula(name, i);
  return t;
}

/// The values of one file, or those whose keys begin with `prefix`.
class Golden {
 public:
  explicit Golden(const std::string& name, std::string prefix = "")
      : file_(read_safetensors(std::string(TESSERA_GOLDEN_DIR) + "/" + name + ".safetensors")),
        prefix_(std::move(prefix)) {}

  bool has(const std::string& key) const { return file_.tensors.contains(prefix_ + key); }
  Tensor tensor(const std::string& key) const { return file_.tensors.at(prefix_ + key); }
  Tensor tensor(const std::string& key, DType dtype) const {
    return autograd::convert(tensor(key), dtype);
  }
  std::vector<double> values(const std::string& key) const {
    return tensor(key, DType::f64).values<double>();
  }

  template <class M>
  void initialize(M& model) const {
    model = models::cast(model, DType::f64);
    models::for_each_parameter(model, [&](const std::string& path, autograd::Var& p) {
      const auto init = values("init." + path);
      p = formula_tensor(path, p.shape(), init[0], init[1]);
      if (!has("param." + path)) return;
      // stored rounded to f32
      ASSERT_EQ(tensor("param." + path).values<float>(),
                autograd::convert(p.value(), DType::f32).values<float>())
          << path;
    });
  }

  template <class M>
  autograd::Vars probe(const M& model) const {
    autograd::Vars v;
    models::for_each_parameter(model, [&](const std::string& path, const autograd::Var& p) {
      v.push_back(formula_tensor("v." + path, p.shape(), 0.0, 1.0));
    });
    return v;
  }

 private:
  Safetensors file_;
  std::string prefix_;
};

inline void expect_golden(const std::vector<double>& got, const std::vector<double>& want,
                          double tolerance, const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  double scale = 1e-6;  // what vanishes does so up to rounding
  for (const double w : want) scale = std::max(scale, std::abs(w));
  for (size_t i = 0; i < got.size(); ++i)
    ASSERT_NEAR(got[i], want[i], tolerance * scale) << what << "[" << i << "]";
}

// Everything the file holds about one family of per-parameter values: whole, head, norm and sum.
template <class M>
void expect_family(const Golden& golden, const std::string& family, const M& model,
                   const autograd::Vars& got, double tolerance) {
  const auto names = models::parameter_names(model);
  ASSERT_EQ(names.size(), got.size());
  for (size_t k = 0; k < names.size(); ++k) {
    const auto values = got[k].value().values<double>();
    double norm = 0, sum = 0, magnitude = 0;
    for (const double v : values) {
      norm += v * v;
      sum += v;
      magnitude += std::abs(v);
    }
    const std::string& n = names[k];
    if (const auto key = family + "." + n; golden.has(key)) {
      const bool single = golden.tensor(key).dtype() == DType::f32;
      expect_golden(values, golden.values(key), single ? 1e-6 : tolerance, key);
    }
    if (const auto key = family + "_head." + n; golden.has(key)) {
      const auto head = golden.values(key);
      for (size_t i = 0; i < head.size(); ++i)
        ASSERT_NEAR(values[i], head[i], tolerance * (std::sqrt(norm) + 1e-12))
            << key << "[" << i << "]";
    }
    if (const auto key = family + "_norm." + n; golden.has(key))
      expect_golden({std::sqrt(norm)}, golden.values(key), tolerance, key);
    if (const auto key = family + "_sum." + n; golden.has(key)) {
      ASSERT_NEAR(sum, golden.values(key)[0], tolerance * (magnitude + 1e-12)) << key;
    }
  }
}

}  // namespace tessera::test
