// A stranger's program on the installed package.
#include <cstdio>

#include "tessera/runtime/tensor.hpp"

int main() {
  using namespace tessera;
  const Tensor x = Tensor::from({1.f, 2.f, 3.f, 4.f, 5.f, 6.f}, {2, 3}, Device::cpu());
  const std::vector<float> transposed = x.transpose(0, 1).values<float>();
  std::printf("%s, transposed %g %g %g\n", to_string(x).c_str(), transposed[0], transposed[1], transposed[2]);
  return transposed == std::vector<float>{1, 4, 2, 5, 3, 6} ? 0 : 1;
}
