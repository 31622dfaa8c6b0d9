#include <cstdio>

#include "tessera/runtime/tensor.hpp"

int main() {
  const auto x = tessera::Tensor::zeros({2, 3}, tessera::DType::f32, tessera::Device::cpu());
  std::printf("%s\n", to_string(x).c_str());
  return x.numel() == 6 ? 0 : 1;
}
