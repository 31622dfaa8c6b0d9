#include "tessera/runtime/tensor.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <numeric>
#include <tuple>

#include "tessera/runtime/allocator.hpp"
#include "tessera/tests/support/files.hpp"

namespace tessera {
namespace {

using test::expect_error;
using test::Numbers;
constexpr ErrorKind invalid = ErrorKind::invalid_argument;
const Device cpu = Device::cpu();

Tensor iota(const Shape& shape) {
  std::vector<int32_t> values(static_cast<size_t>(shape.numel()));
  std::iota(values.begin(), values.end(), 0);
  return Tensor::from(values, shape, cpu);
}

// An array as a map from index to value: every view operation is a change of the index.
struct Array {
  std::vector<int64_t> shape;
  std::function<int32_t(const std::vector<int64_t>&)> at;

  std::vector<int32_t> values() const {
    std::vector<int32_t> out;
    std::vector<int64_t> index(shape.size(), 0);
    const int64_t count =
        std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
    for (int64_t n = 0; n < count; ++n) {
      int64_t rest = n;
      for (size_t i = shape.size(); i-- > 0;) {
        index[i] = rest % shape[i];
        rest /= shape[i];
      }
      out.push_back(at(index));
    }
    return out;
  }
};

Array array_of(const Tensor& t) {
  const auto values = t.values<int32_t>();
  std::vector<int64_t> shape(t.shape().begin(), t.shape().end());
  return {shape, [values, shape](const std::vector<int64_t>& index) {
            int64_t n = 0;
            for (size_t i = 0; i < shape.size(); ++i) n = n * shape[i] + index[i];
            return values[static_cast<size_t>(n)];
          }};
}

// Element n in row-major order lies n places behind the first.
bool lies_in_order(const View& v) {
  for (int64_t n = 0; n < v.numel(); ++n) {
    int64_t rest = n, offset = 0;
    for (int i = v.rank - 1; i >= 0; --i) {
      offset += rest % v.shape[i] * v.stride[i];
      rest /= v.shape[i];
    }
    if (offset != n) return false;
  }
  return true;
}

void expect_same(const Tensor& t, const Array& array, const std::string& what) {
  ASSERT_EQ(t.shape(), Shape(std::span<const int64_t>(array.shape))) << what;
  ASSERT_EQ(t.values<int32_t>(), array.values()) << what;
  ASSERT_TRUE(t.clone().contiguous()) << what;
  ASSERT_EQ(t.contiguous(), lies_in_order(t.view())) << what;
  ASSERT_EQ(t.view().contiguous(), t.contiguous()) << what;
}

TEST(Tensor, ChainsOfViewsFollowTheirDefinition) {
  Numbers next(7);
  for (int round = 0; round < 400; ++round) {
    Shape shape;
    const int rank = static_cast<int>(next() % 5);
    for (int i = 0; i < rank; ++i)
      shape.push_back(static_cast<int64_t>(next() % 6 == 0 ? next() % 2 : 1 + next() % 4));
    Tensor t = iota(shape);
    Array a = array_of(t);
    std::string what = concat("round ", round, ": ", shape);
    for (int step = 0; step < 5; ++step) {
      const int r = t.rank();
      switch (next() % 7) {
        case 0: {  // permute
          std::vector<int64_t> axes(static_cast<size_t>(r));
          std::iota(axes.begin(), axes.end(), 0);
          for (size_t i = axes.size(); i > 1; --i) std::swap(axes[i - 1], axes[next() % i]);
          t = t.permute(Axes(std::span<const int64_t>(axes)));
          Array b;
          for (const int64_t axis : axes) b.shape.push_back(a.shape[static_cast<size_t>(axis)]);
          b.at = [a, axes](const std::vector<int64_t>& index) {
            std::vector<int64_t> old(index.size());
            for (size_t i = 0; i < index.size(); ++i) old[static_cast<size_t>(axes[i])] = index[i];
            return a.at(old);
          };
          a = b;
          what += " permute";
          break;
        }
        case 1: {  // narrow
          if (r == 0) break;
          const auto axis = next() % static_cast<uint32_t>(r);
          const int64_t n = a.shape[axis],
                        start = static_cast<int64_t>(next() % static_cast<uint32_t>(n + 1));
          const int64_t stride = 1 + static_cast<int64_t>(next() % 2);
          const int64_t most = (n - start + stride - 1) / stride;
          const auto length = static_cast<int64_t>(next() % static_cast<uint32_t>(most + 1));
          t = t.narrow(static_cast<int>(axis), start, length, stride);
          Array b{a.shape, [a, axis, start, stride](std::vector<int64_t> index) {
                    index[axis] = start + index[axis] * stride;
                    return a.at(index);
                  }};
          b.shape[axis] = length;
          a = b;
          what += concat(" narrow(", axis, ",", start, ",", length, ",", stride, ")");
          break;
        }
        case 2: {  // broadcast
          if (r == max_rank) break;
          Shape wide{static_cast<int64_t>(1 + next() % 3)};
          for (int i = 0; i < r; ++i)
            wide.push_back(t.shape()[i] == 1 ? 1 + static_cast<int64_t>(next() % 3) : t.shape()[i]);
          t = t.broadcast_to(wide);
          a = {std::vector<int64_t>(wide.begin(), wide.end()),
               [a](const std::vector<int64_t>& index) {
                 std::vector<int64_t> old(index.begin() + 1, index.end());
                 for (size_t i = 0; i < old.size(); ++i)
                   if (a.shape[i] == 1) old[i] = 0;
                 return a.at(old);
               }};
          what += concat(" broadcast", wide);
          break;
        }
        case 3: {  // reshape to a random factorisation
          const int64_t count = t.numel();
          Shape wanted;
          int64_t rest = count;
          while (wanted.rank() < 4 && rest > 1) {
            int64_t factor = 2 + static_cast<int64_t>(next() % 5);
            if (rest % factor != 0) factor = next() % 2 ? 1 : rest;
            wanted.push_back(factor);
            rest /= factor;
          }
          wanted.push_back(count == 0 ? 0 : rest);
          t = t.reshape(wanted);
          const auto values = a.values();
          const std::vector<int64_t> dims(wanted.begin(), wanted.end());
          a = {dims, [values, dims](const std::vector<int64_t>& index) {
                 int64_t n = 0;
                 for (size_t i = 0; i < dims.size(); ++i) n = n * dims[i] + index[i];
                 return values[static_cast<size_t>(n)];
               }};
          what += concat(" reshape", wanted);
          break;
        }
        case 4: {  // select
          if (r == 0) break;
          const auto axis = next() % static_cast<uint32_t>(r);
          if (a.shape[axis] == 0) break;
          const auto at = static_cast<int64_t>(next() % static_cast<uint32_t>(a.shape[axis]));
          t = t.select(static_cast<int>(axis), at);
          Array b{a.shape, [a, axis, at](std::vector<int64_t> index) {
                    index.insert(index.begin() + axis, at);
                    return a.at(index);
                  }};
          b.shape.erase(b.shape.begin() + axis);
          a = b;
          what += " select";
          break;
        }
        case 5: {  // unsqueeze, squeeze
          if (r == max_rank) break;
          const auto axis = next() % static_cast<uint32_t>(r + 1);
          t = t.unsqueeze(static_cast<int>(axis));
          EXPECT_EQ(t.squeeze(static_cast<int>(axis)).shape(),
                    Shape(std::span<const int64_t>(a.shape)));
          Array b{a.shape, [a, axis](std::vector<int64_t> index) {
                    index.erase(index.begin() + axis);
                    return a.at(index);
                  }};
          b.shape.insert(b.shape.begin() + axis, 1);
          a = b;
          what += " unsqueeze";
          break;
        }
        default: {  // transpose
          if (r < 2) break;
          const auto x = next() % static_cast<uint32_t>(r), y = next() % static_cast<uint32_t>(r);
          t = t.transpose(static_cast<int>(x), static_cast<int>(y) - r);
          Array b{a.shape, [a, x, y](std::vector<int64_t> index) {
                    std::swap(index[x], index[y]);
                    return a.at(index);
                  }};
          std::swap(b.shape[x], b.shape[y]);
          a = b;
          what += " transpose";
        }
      }
      expect_same(t, a, what);
    }
  }
}

TEST(Tensor, ReshapeIsAViewExactlyWhenOneExists) {
  const Tensor t = iota({4, 6, 5});
  EXPECT_TRUE(t.reshape({24, 5}).same_storage(t));
  EXPECT_TRUE(t.narrow(2, 1, 3).reshape({2, 2, 6, 3}).same_storage(t))
      << "splits an axis of a strided tensor";
  EXPECT_TRUE(t.narrow(2, 1, 3).reshape({24, 3}).same_storage(t)) << "merges axes with one stride";
  EXPECT_TRUE(t.narrow(0, 1, 2).reshape({60}).same_storage(t)) << "a contiguous part";
  EXPECT_TRUE(t.transpose(0, 1).reshape({6, 2, 2, 5}).same_storage(t));
  EXPECT_FALSE(t.transpose(0, 1).reshape({24, 5}).same_storage(t));
  EXPECT_FALSE(t.narrow(2, 1, 3).reshape({4, 18}).same_storage(t));
  EXPECT_FALSE(t.narrow(1, 0, 3).reshape({12, 5}).same_storage(t));
  EXPECT_TRUE(t.reshape({-1}).same_storage(t));
  EXPECT_EQ(t.reshape({2, -1, 3}).shape(), (Shape{2, 20, 3}));
  EXPECT_EQ(iota({0, 3}).reshape({-1, 3}).shape(), (Shape{0, 3}));
  EXPECT_EQ(iota({0, 3}).reshape({5, 0, 2}).shape(), (Shape{5, 0, 2}));
  EXPECT_EQ(iota({1, 1}).reshape({}).item(), 0);
}

TEST(Tensor, ViewsRefuseWhatDoesNotFit) {
  const Tensor t = iota({2, 3});
  expect_error([&] { t.reshape({4}); }, {"[2, 3]", "[4]"}, invalid);
  expect_error([&] { t.reshape({-1, -1}); }, {"more than one -1"}, invalid);
  expect_error([&] { t.reshape({-1, 4}); }, {"[2, 3]", "[-1, 4]"}, invalid);
  expect_error([&] { t.reshape({-2, -3}); }, {"negative"}, invalid);
  expect_error([&] { iota({0}).reshape({-1, 0}); }, {"[0]"}, invalid);
  expect_error([&] { t.reshape({int64_t{1} << 40, int64_t{1} << 40}); }, {"memory"}, invalid);
  expect_error([&] { t.permute({0}); }, {"[0]"}, invalid);
  expect_error([&] { t.permute({0, 0}); }, {"repeat"}, invalid);
  expect_error([&] { t.permute({0, 2}); }, {"axis 2"}, invalid);
  expect_error([&] { t.transpose(0, 2); }, {"axis 2"}, invalid);
  expect_error([&] { t.narrow(1, 2, 2); }, {"2 elements from 2", "[2, 3]"}, invalid);
  expect_error([&] { t.narrow(1, -1, 1); }, {"-1"}, invalid);
  expect_error([&] { t.narrow(1, 0, 3, 2); }, {"by 2"}, invalid);
  expect_error([&] { t.narrow(1, 3, 1, 2); }, {"from 3"}, invalid);
  expect_error([&] { t.narrow(1, INT64_MAX, INT64_MAX); }, {"leave"}, invalid);
  expect_error([&] { t.narrow(1, INT64_MIN, 1); }, {"leave"}, invalid);
  expect_error([&] { t.narrow(1, 1, INT64_MAX, INT64_MAX); }, {"leave"}, invalid);
  EXPECT_EQ(t.narrow(1, 3, 0).shape(), (Shape{2, 0}));
  EXPECT_EQ(t.narrow(1, 1, 1, INT64_MAX).values<int32_t>(), (std::vector<int32_t>{1, 4}));
  expect_error([&] { t.select(0, 2); }, {"2"}, invalid);
  expect_error([&] { t.broadcast_to({3, 3}); }, {"[2, 3]", "[3, 3]"}, invalid);
  expect_error([&] { t.broadcast_to({3}); }, {"[2, 3]", "[3]"}, invalid);
  expect_error([&] { iota({1}).broadcast_to({-2}); }, {"negative"}, invalid);
  expect_error([&] { iota({1}).broadcast_to({INT64_MAX, 4}); }, {"memory"}, invalid);
  expect_error([&] { t.squeeze(0); }, {"is not 1"}, invalid);
  expect_error([&] { iota({1, 1, 1, 1, 1, 1}).unsqueeze(0); }, {"6 dimensions"}, invalid);
  expect_error([&] { t.size(2); }, {"axis 2"}, invalid);
  EXPECT_EQ(t.size(-1), 3);
}

TEST(Tensor, FactoriesFillAndCheck) {
  EXPECT_EQ(Tensor::zeros({2, 2}, DType::f64, cpu).values<double>(), std::vector<double>(4, 0.0));
  EXPECT_EQ(Tensor::from<float>({1, 2}, {2}, cpu).values<float>(), (std::vector<float>{1, 2}));
  const bool flags[] = {true, false};
  EXPECT_EQ(Tensor::from(std::span<const bool>(flags), {2}, cpu).values<bool>(),
            (std::vector<bool>{true, false}));
  expect_error([] { Tensor::from<float>({1, 2}, {3}, cpu); }, {"2 values", "[3]"}, invalid);
  expect_error([] { Tensor::empty({2, -1}, DType::f32, cpu); }, {"negative", "[2, -1]"}, invalid);
  expect_error([] { Tensor::empty({INT64_MAX, 3}, DType::f32, cpu); }, {"memory"}, invalid);
  expect_error([] { Tensor::empty({int64_t{1} << 58}, DType::f64, cpu); }, {"cpu"},
               ErrorKind::out_of_memory);
  EXPECT_EQ(to_string(Tensor::zeros({2, 3}, DType::bf16, cpu)), "bf16 [2, 3] on cpu");
  EXPECT_EQ(to_string(Tensor()), "undefined tensor");
}

TEST(Tensor, CopiesShareMemoryAndClonesDoNot) {
  Tensor a = iota({3});
  Tensor b = a;
  const Tensor c = a.clone();
  EXPECT_TRUE(a.same_storage(b));
  EXPECT_FALSE(a.same_storage(c));
  EXPECT_FALSE(a.unique());
  EXPECT_TRUE(c.unique());
  b.host_mutable<int32_t>()[0] = 9;
  EXPECT_EQ(a.values<int32_t>()[0], 9);
  EXPECT_EQ(c.values<int32_t>()[0], 0);
  b = Tensor();
  EXPECT_TRUE(a.unique());
}

TEST(Tensor, CopyFromMovesBetweenLayouts) {
  Numbers next(3);
  for (int d = 0; d < dtype_count; ++d) {
    const auto dtype = static_cast<DType>(d);
    const Tensor source = test::integers(
        {5, 4, 3},
        dtype == DType::u8 || dtype == DType::u16 || dtype == DType::bool_ ? DType::i32 : dtype, 5);
    const DType used = source.dtype();
    Tensor plain = Tensor::zeros({3, 4, 5}, used, cpu);
    plain.copy_from(source.permute({2, 1, 0}));
    EXPECT_EQ(test::to_doubles(plain), test::to_doubles(source.permute({2, 1, 0})));
    Tensor strided = Tensor::zeros({8, 4, 6}, used, cpu).narrow(0, 1, 5).narrow(2, 0, 3, 2);
    strided.copy_from(source);
    EXPECT_EQ(test::to_doubles(strided), test::to_doubles(source));
    Tensor rows = Tensor::zeros({5, 4, 3}, used, cpu);
    rows.copy_from(source.select(0, 2).unsqueeze(0).broadcast_to({5, 4, 3}));
    for (int64_t i = 0; i < 5; ++i)
      EXPECT_EQ(test::to_doubles(rows.select(0, i)), test::to_doubles(source.select(0, 2)));
  }
  Tensor t = iota({2, 3});
  expect_error([&] { t.copy_from(iota({3, 2})); }, {"[3, 2]", "[2, 3]"}, invalid);
  expect_error(
      [&] {
        t.copy_from(Tensor::zeros({2, 3}, DType::f32, cpu));
      },
      {"f32", "i32"}, invalid);
  Tensor none = iota({0, 3});
  EXPECT_NO_THROW(none.copy_from(iota({0, 3})));
}

TEST(Tensor, AWriteThroughAStridedViewTouchesOnlyItsElements) {
  Tensor t = Tensor::zeros({4, 5}, DType::i32, cpu);
  Tensor view = t.narrow(0, 1, 2).narrow(1, 1, 2, 2);
  view.copy_from(Tensor::from<int32_t>({1, 2, 3, 4}, {2, 2}, cpu));
  EXPECT_EQ(t.values<int32_t>(),
            (std::vector<int32_t>{0, 0, 0, 0, 0, 0, 1, 0, 2, 0, 0, 3, 0, 4, 0, 0, 0, 0, 0, 0}));
}

TEST(Tensor, HostAccessChecksTypeAndLayout) {
  const Tensor t = iota({2, 3});
  EXPECT_EQ(t.host<int32_t>().size(), 6u);
  expect_error([&] { t.host<float>(); }, {"f32", "i32"}, invalid);
  expect_error([&] { t.transpose(0, 1).host<int32_t>(); }, {"strided", "[3, 2]"}, invalid);
  EXPECT_TRUE(t.narrow(1, 1, 0).host<int32_t>().empty()) << "nothing is contiguous in any layout";
  EXPECT_EQ(t.select(0, 1).host<int32_t>()[0], 3);
}

TEST(Tensor, ItemReadsEveryDtype) {
  for (int d = 0; d < dtype_count; ++d) {
    const auto dtype = static_cast<DType>(d);
    EXPECT_EQ(test::from_doubles({0, 1}, {2, 1}, dtype).select(0, 1).item(), 1) << to_string(dtype);
  }
  EXPECT_EQ(Tensor::from<double>({2.5}, {1, 1}, cpu).item(), 2.5);
  expect_error([] { iota({2}).item(); }, {"[2]", "one element"}, invalid);
}

TEST(Tensor, MetaAndUndefinedTensorsHaveNoMemory) {
  const Tensor meta = Tensor::meta({2, 3}, DType::f32, cpu);
  EXPECT_TRUE(meta.defined());
  EXPECT_FALSE(meta.has_data());
  EXPECT_EQ(meta.reshape({3, 2}).shape(), (Shape{3, 2}));
  EXPECT_FALSE(meta.permute({1, 0}).has_data());
  expect_error([&] { meta.data(); }, {"f32 [2, 3]", "no memory"}, invalid);
  expect_error([&] { meta.clone(); }, {"no memory"}, invalid);
  expect_error([] { Tensor().data(); }, {"undefined"}, invalid);
  EXPECT_FALSE(Tensor().defined());
}

TEST(Tensor, ForeignMemoryIsReleasedOnceWithTheLastReference) {
  float data[6] = {0, 1, 2, 3, 4, 5};
  int released = 0;
  {
    Tensor t = Tensor::over(Storage::adopt(data, sizeof data, cpu, [&] { ++released; }), 1, {2, 2},
                            {3, 1}, DType::f32);
    EXPECT_EQ(t.values<float>(), (std::vector<float>{1, 2, 4, 5}));
    const Tensor row = t.select(0, 1);
    t = Tensor();
    EXPECT_EQ(released, 0);
    EXPECT_EQ(row.data(), data + 4);
  }
  EXPECT_EQ(released, 1);
  {
    const Tensor silent =
        Tensor::over(Storage::adopt(data, sizeof data, cpu, {}), 0, {6}, {1}, DType::f32);
  }
}

TEST(Tensor, OverChecksThatTheRangeLiesInside) {
  const auto storage = Storage::allocate(24, cpu);
  const auto make = [&](int64_t offset, const Shape& shape, const Shape& strides,
                        DType dtype = DType::f32) {
    return Tensor::over(storage, offset, shape, strides, dtype);
  };
  EXPECT_NO_THROW(make(0, {2, 3}, {3, 1}));
  EXPECT_NO_THROW(make(5, {1}, {100}));
  EXPECT_NO_THROW(make(6, {0}, {1}));
  EXPECT_NO_THROW(make(0, {100}, {0}));
  EXPECT_NO_THROW(make(0, {3}, {1}, DType::f64));
  for (const auto& [offset, shape, strides] :
       std::vector<std::tuple<int64_t, Shape, Shape>>{{1, {2, 3}, {3, 1}},
                                                      {0, {2, 3}, {4, 1}},
                                                      {-1, {1}, {1}},
                                                      {7, {0}, {1}},
                                                      {6, {1}, {1}},
                                                      {0, {2}, {-1}},
                                                      {0, {3, 3}, {INT64_MAX / 2, INT64_MAX / 2}},
                                                      {INT64_MAX, {2}, {INT64_MAX}}})
    expect_error([&] { make(offset, shape, strides); }, {"24 bytes", to_string(shape)}, invalid);
  expect_error([&] { make(0, {4}, {1}, DType::f64); }, {"24 bytes"}, invalid);
  expect_error([&] { make(0, {2, 3}, {1}); }, {"rank"}, invalid);
}

TEST(Tensor, EmptyTensorsGoThroughEverything) {
  const Tensor t = iota({2, 0, 3});
  EXPECT_EQ(t.numel(), 0);
  EXPECT_TRUE(t.contiguous());
  EXPECT_TRUE(t.transpose(0, 2).contiguous());
  EXPECT_TRUE(t.transpose(0, 2).view().contiguous());
  EXPECT_TRUE(t.transpose(0, 2).clone().values<int32_t>().empty());
  EXPECT_EQ(t.broadcast_to({4, 2, 0, 3}).numel(), 0);
  EXPECT_EQ(t.to(cpu).shape(), t.shape());
  EXPECT_EQ(t.select(0, 1).shape(), (Shape{0, 3}));
  EXPECT_EQ(Tensor::zeros({0}, DType::f32, cpu).values<float>().size(), 0u);
}

TEST(Tensor, OutOfMemoryNamesTheLimitAndLosesNothing) {
  const auto limit = std::make_shared<LimitAllocator>(std::make_shared<DriverAllocator>(), 100);
  const AllocatorScope scope(Device::Type::cpu, limit);
  const Tensor t = iota({20});
  expect_error([&] { t.clone(); }, {"limit of 100", "80"}, ErrorKind::out_of_memory);
  EXPECT_EQ(t.host<int32_t>()[19], 19);
}

}  // namespace
}  // namespace tessera
