#include "tessera/runtime/error.hpp"

#include <gtest/gtest.h>

#include "tessera/runtime/dtype.hpp"
#include "tessera/runtime/shape.hpp"
#include "tessera/tests/support/files.hpp"

namespace tessera {
namespace {

using test::expect_error;

TEST(Error, ConcatJoinsEverythingThatHasAText) {
  EXPECT_EQ(concat("a", 'b', std::string("c"), std::string_view("d"), true, -3, 7u, 0.1, 0.1f,
                   DType::bf16, Shape{2, 3}),
            "abcdtrue-370.10.1bf16[2, 3]");
  EXPECT_EQ(concat(), "");
  EXPECT_EQ(concat(INT64_MIN, " ", UINT64_MAX, " ", 1e300),
            "-9223372036854775808 18446744073709551615 1e+300");
}

TEST(Error, CheckThrowsWithPlaceAndBuildsItsMessageOnlyThen) {
  int built = 0;
  const auto text = [&] { return ++built, "text"; };
  EXPECT_NO_THROW(TS_CHECK(true, text()));
  EXPECT_EQ(built, 0);
  int line = 0;
  try {
    line = __LINE__ + 1;
    TS_CHECK(1 == 2, "op: ", text(), " ", 5);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
    EXPECT_STREQ(error.what(), "op: text 5");
    EXPECT_EQ(error.where().line(), static_cast<unsigned>(line));
    EXPECT_NE(std::string(error.where().file_name()).find("error_test.cpp"), std::string::npos);
  }
  EXPECT_EQ(built, 1);
}

TEST(DType, NamesSizesAndClasses) {
  const std::vector<std::pair<DType, size_t>> sizes{
      {DType::f32, 4},   {DType::f64, 8}, {DType::f16, 2}, {DType::bf16, 2},
      {DType::i64, 8},   {DType::i32, 4}, {DType::i8, 1},  {DType::u8, 1},
      {DType::bool_, 1}, {DType::i16, 2}, {DType::u16, 2}};
  EXPECT_EQ(sizes.size(), static_cast<size_t>(dtype_count));
  for (const auto& [dtype, size] : sizes) {
    EXPECT_EQ(size_of(dtype), size);
    EXPECT_EQ(parse_dtype(to_string(dtype)), dtype);
    for_any(dtype, [d = dtype, s = size]<class T>() {
      EXPECT_EQ(dtype_of<T>, d);
      EXPECT_EQ(sizeof(T), s);
    });
    EXPECT_EQ(is_float(dtype) + is_integer(dtype) + (dtype == DType::bool_), 1);
    EXPECT_LE(is_half(dtype), is_float(dtype));
  }
  expect_error([] { parse_dtype("f8"); }, {"'f8'", "bf16"}, ErrorKind::invalid_argument);
}

TEST(DType, VisitorsCallTheirTypesAndRefuseOthers) {
  for (int d = 0; d < dtype_count; ++d) {
    const auto dtype = static_cast<DType>(d);
    const auto name = [&]<class T>() { EXPECT_EQ(dtype_of<T>, dtype); };
    for_any(dtype, name);
    if (dtype == DType::i16 || dtype == DType::u16)
      expect_error([&] { for_computed(dtype, "some op", name); },
                   {"some op", std::string(to_string(dtype))}, ErrorKind::unsupported);
    if (is_float(dtype))
      for_float(dtype, "op", name);
    else
      expect_error([&] { for_float(dtype, "some op", name); },
                   {"some op", std::string(to_string(dtype))}, ErrorKind::unsupported);
    if (dtype == DType::i32 || dtype == DType::i64)
      for_index(dtype, "op", name);
    else
      expect_error([&] { for_index(dtype, "some op", name); }, {"some op"}, ErrorKind::unsupported);
  }
}

}  // namespace
}  // namespace tessera
