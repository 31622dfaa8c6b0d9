#include "tessera/runtime/dlpack.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>

#include "tessera/tests/support/files.hpp"

namespace tessera {
namespace {

using namespace dlpack;
using test::expect_error;
using test::to_doubles;

const Device cpu = Device::cpu();

// A foreign producer's tensor that counts how often it is given back.
template <class Managed>
struct Foreign {
  std::vector<int64_t> shape, strides;
  Managed managed{};
  int released = 0;

  Foreign(void* data, DLDataType type, std::vector<int64_t> extents,
          std::vector<int64_t> steps = {})
      : shape(std::move(extents)), strides(std::move(steps)) {
    managed.dl_tensor = {data, {device_cpu, 0}, static_cast<int32_t>(shape.size()),
                         type, shape.data(),    strides.empty() ? nullptr : strides.data(),
                         0};
    managed.manager_ctx = this;
    managed.deleter = [](Managed* self) { ++static_cast<Foreign*>(self->manager_ctx)->released; };
    if constexpr (std::is_same_v<Managed, DLManagedTensorVersioned>) managed.version = {1, 3};
  }
};
using Legacy = Foreign<DLManagedTensor>;
using Versioned = Foreign<DLManagedTensorVersioned>;
constexpr DLDataType f32{code_float, 32, 1}, i32{code_int, 32, 1};

TEST(Dlpack, ExportSharesMemoryAndKeepsItAlive) {
  Tensor t = Tensor::from<float>({0, 1, 2, 3, 4, 5}, {2, 3}, cpu);
  DLManagedTensor* legacy = to_dlpack(t.transpose(0, 1).narrow(0, 1, 2));
  DLManagedTensorVersioned* versioned = to_dlpack_versioned(t);
  EXPECT_EQ(legacy->dl_tensor.ndim, 2);
  EXPECT_EQ(legacy->dl_tensor.shape[0], 2);
  EXPECT_EQ(legacy->dl_tensor.shape[1], 2);
  EXPECT_EQ(legacy->dl_tensor.strides[0], 1);
  EXPECT_EQ(legacy->dl_tensor.strides[1], 3);
  EXPECT_EQ(legacy->dl_tensor.device.device_type, device_cpu);
  EXPECT_EQ(static_cast<float*>(legacy->dl_tensor.data), t.host<float>().data() + 1);
  EXPECT_EQ(versioned->version.major, 1u);
  EXPECT_EQ(versioned->flags, 0u);
  t.host_mutable<float>()[1] = 9;
  t = Tensor();
  EXPECT_EQ(*static_cast<float*>(legacy->dl_tensor.data), 9) << "memory outlives the tensor";
  legacy->deleter(legacy);
  EXPECT_EQ(static_cast<float*>(versioned->dl_tensor.data)[5], 5);
  versioned->deleter(versioned);  // the sanitizer's leak check sees whether this frees all
}

TEST(Dlpack, RoundTripOfEveryDtype) {
  for (int d = 0; d < dtype_count; ++d) {
    const auto dtype = static_cast<DType>(d);
    for (const Shape& shape :
         {Shape{}, Shape{3}, Shape{2, 3}, Shape{0, 3}, Shape{1, 2, 1, 2, 1, 2}}) {
      std::vector<double> values;
      for (int64_t i = 0; i < shape.numel(); ++i) values.push_back(static_cast<double>(i % 2));
      const Tensor t = test::from_doubles(values, shape, dtype);
      for (const Tensor& back : {from_dlpack(to_dlpack(t)), from_dlpack(to_dlpack_versioned(t))}) {
        EXPECT_EQ(back.dtype(), dtype);
        EXPECT_EQ(back.shape(), shape);
        EXPECT_EQ(to_doubles(back), values);
        if (t.numel() > 0) {
          EXPECT_EQ(back.data(), t.data()) << "no copy";
        }
      }
    }
  }
}

TEST(Dlpack, ImportReleasesOnceWithItsLastReference) {
  float data[] = {0, 1, 2, 3, 4, 5};
  Legacy legacy(data, f32, {2, 3});
  Versioned versioned(data, f32, {3, 2}, {1, 3});
  {
    Tensor a = from_dlpack(&legacy.managed);
    const Tensor view = a.select(0, 1);
    a = Tensor();
    EXPECT_EQ(legacy.released, 0);
    EXPECT_EQ(view.values<float>(), (std::vector<float>{3, 4, 5}));
    const Tensor b = from_dlpack(&versioned.managed);
    EXPECT_EQ(b.strides(), (Shape{1, 3}));
    EXPECT_EQ(b.values<float>(), (std::vector<float>{0, 3, 1, 4, 2, 5}));
    data[0] = 7;
    EXPECT_EQ(b.values<float>()[0], 7) << "the memory is shared";
    EXPECT_EQ(versioned.released, 0);
  }
  EXPECT_EQ(legacy.released, 1);
  EXPECT_EQ(versioned.released, 1);
}

TEST(Dlpack, CopiesWhatItCannotShare) {
  alignas(8) char raw[64] = {};
  for (int i = 0; i < 12; ++i) {
    const int32_t value = i;
    std::memcpy(raw + 1 + 4 * i, &value, 4);
  }
  Legacy unaligned(raw, i32, {2, 3});
  unaligned.managed.dl_tensor.byte_offset = 1;
  EXPECT_EQ(from_dlpack(&unaligned.managed).values<int32_t>(),
            (std::vector<int32_t>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(unaligned.released, 1);

  float data[] = {0, 1, 2, 3, 4, 5};
  Legacy backward(data + 5, f32, {2, 3}, {-3, -1});
  EXPECT_EQ(from_dlpack(&backward.managed).values<float>(), (std::vector<float>{5, 4, 3, 2, 1, 0}));
  EXPECT_EQ(backward.released, 1);

  Versioned locked(data, f32, {6});
  locked.managed.flags = flag_read_only;
  Tensor copy = from_dlpack(&locked.managed);
  copy.host_mutable<float>()[0] = 9;
  EXPECT_EQ(data[0], 0) << "read-only memory is not written through";
  EXPECT_EQ(locked.released, 1);
}

TEST(Dlpack, OffsetsBroadcastsAndEmptyTensors) {
  float data[] = {0, 1, 2, 3};
  Legacy offset(data, f32, {2});
  offset.managed.dl_tensor.byte_offset = 8;
  EXPECT_EQ(from_dlpack(&offset.managed).values<float>(), (std::vector<float>{2, 3}));
  Legacy repeated(data, f32, {2, 3}, {1, 0});
  EXPECT_EQ(from_dlpack(&repeated.managed).values<float>(), (std::vector<float>{0, 0, 0, 1, 1, 1}));
  Legacy odd(data, f32, {1, 4}, {INT64_MIN, 1});  // the stride of an extent of 1 means nothing
  EXPECT_EQ(from_dlpack(&odd.managed).values<float>(), (std::vector<float>{0, 1, 2, 3}));
  Legacy empty(nullptr, f32, {0, 3});
  EXPECT_EQ(from_dlpack(&empty.managed).shape(), (Shape{0, 3}));
  EXPECT_EQ(empty.released, 1);
  Legacy undying(data, f32, {4});
  undying.managed.deleter = nullptr;
  EXPECT_EQ(from_dlpack(&undying.managed).numel(), 4);

  auto* broadcast = to_dlpack_versioned(Tensor::zeros({1}, DType::f32, cpu).broadcast_to({5}));
  EXPECT_EQ(broadcast->flags, flag_read_only);
  broadcast->deleter(broadcast);
}

TEST(Dlpack, RefusesAndReleasesWhatItCannotTake) {
  float data[4] = {};
  const auto refuses = [&](ErrorKind kind, const std::vector<std::string>& parts,
                           const std::function<void(Legacy&)>& change) {
    Legacy foreign(data, f32, {2, 2});
    change(foreign);
    expect_error([&] { from_dlpack(&foreign.managed); }, parts, kind);
    EXPECT_EQ(foreign.released, 1);
  };
  const ErrorKind unsupported = ErrorKind::unsupported, invalid = ErrorKind::invalid_argument;
  const auto type = [](DLDataType t) { return [t](Legacy& f) { f.managed.dl_tensor.dtype = t; }; };
  refuses(unsupported, {"uint32"}, type({code_uint, 32, 1}));
  refuses(unsupported, {"complex64"}, type({5, 64, 1}));
  refuses(unsupported, {"float8"}, type({code_float, 8, 1}));
  refuses(unsupported, {"type code 10"}, type({10, 8, 1}));
  refuses(unsupported, {"float32 x 4"}, type({code_float, 32, 4}));
  refuses(unsupported, {"device type 10"},
          [](Legacy& f) { f.managed.dl_tensor.device.device_type = 10; });
  refuses(invalid, {"rank 7"}, [](Legacy& f) { f.managed.dl_tensor.ndim = 7; });
  refuses(invalid, {"rank -1"}, [](Legacy& f) { f.managed.dl_tensor.ndim = -1; });
  refuses(invalid, {"without a shape"}, [](Legacy& f) { f.managed.dl_tensor.shape = nullptr; });
  refuses(invalid, {"negative"}, [](Legacy& f) { f.shape[0] = -2; });
  refuses(invalid, {"beyond any memory"}, [](Legacy& f) {
    f.shape = {INT64_MAX / 2, INT64_MAX / 2};
    f.managed.dl_tensor.shape = f.shape.data();
  });
  refuses(invalid, {"strides"}, [](Legacy& f) {
    f.strides = {INT64_MAX, INT64_MAX};
    f.managed.dl_tensor.strides = f.strides.data();
  });
  refuses(invalid, {"without data"}, [](Legacy& f) { f.managed.dl_tensor.data = nullptr; });

  Versioned future(data, f32, {4});
  future.managed.version = {2, 0};
  expect_error([&] { from_dlpack(&future.managed); }, {"version 2.0", "1.x"}, unsupported);
  EXPECT_EQ(future.released, 1);
  expect_error([] { from_dlpack(static_cast<DLManagedTensor*>(nullptr)); }, {"no tensor"}, invalid);
  expect_error([] { to_dlpack(Tensor()); }, {"no memory"}, invalid);
  expect_error([] { to_dlpack(Tensor::meta({2}, DType::f32, cpu)); }, {"no memory"}, invalid);
}

}  // namespace
}  // namespace tessera
