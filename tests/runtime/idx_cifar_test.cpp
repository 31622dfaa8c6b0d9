#include <gtest/gtest.h>

#include "tessera/runtime/io/cifar.hpp"
#include "tessera/runtime/io/idx.hpp"
#include "tessera/tests/support/files.hpp"

namespace tessera {
namespace {

using test::expect_error;

std::string idx(int type, const std::vector<uint32_t>& shape, const std::string& data) {
  std::string out("\0\0", 2);
  out += static_cast<char>(type);
  out += static_cast<char>(shape.size());
  for (const uint32_t extent : shape)
    for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(extent >> shift);
  return out + data;
}

Tensor parse(const std::string& content) {
  return parse_idx(std::as_bytes(std::span(content)), "x.idx");
}

TEST(Idx, ReadsEveryType) {
  const auto expect = [](int type, const std::string& data, DType dtype,
                         const std::vector<double>& values) {
    const Tensor t = parse(idx(type, {2}, data));
    EXPECT_EQ(t.dtype(), dtype);
    EXPECT_EQ(test::to_doubles(t), values);
  };
  expect(0x08, "\x01\xff", DType::u8, {1, 255});
  expect(0x09, "\x01\xff", DType::i8, {1, -1});
  expect(0x0B, std::string("\x01\x00\xff\xfe", 4), DType::i16, {256, -2});
  expect(0x0C, std::string("\0\1\0\0\xff\xff\xff\xfd", 8), DType::i32, {65536, -3});
  expect(0x0D, std::string("\x3f\xc0\0\0\xc0\0\0\0", 8), DType::f32, {1.5, -2});
  expect(0x0E, std::string("\x3f\xf8\0\0\0\0\0\0\xc0\0\0\0\0\0\0\0", 16), DType::f64, {1.5, -2});
  const Tensor t = parse(idx(0x08, {2, 3}, "abcdef"));
  EXPECT_EQ(t.shape(), (Shape{2, 3}));
  EXPECT_EQ(parse(idx(0x08, {}, "a")).item(), 'a');
  EXPECT_EQ(parse(idx(0x08, {0, 4}, "")).numel(), 0);
}

// "\0\0\x08\1\0\0\0\3abc" as gzip writes it with no compression, and the CRC of these eleven bytes.
const std::string gz(
    "\x1f\x8b\x08\0\0\0\0\0\0\xff\x01\x0b\0\xf4\xff\0\0\x08\1\0\0\0\3abc\x54\x24\x25\xc4\x0b\0\0\0",
    34);

TEST(Idx, AcceptsGzip) {
  EXPECT_EQ(parse(gz).values<uint8_t>(), (std::vector<uint8_t>{'a', 'b', 'c'}));
  std::string damaged = gz;
  damaged[24] = 'X';
  expect_error([&] { parse(damaged); }, {"x.idx", "expanded", "data"});
  expect_error([&] { parse(gz.substr(0, 24)); }, {"x.idx", "too early"});
}

TEST(Idx, NamesWhatIsWrong) {
  const auto refuses = [](const std::string& content, const std::vector<std::string>& parts) {
    std::vector<std::string> all{"x.idx"};
    all.insert(all.end(), parts.begin(), parts.end());
    expect_error([&] { parse(content); }, all);
  };
  refuses("", {"magic"});
  refuses("ab\x08\1", {"two zero bytes"});
  refuses(idx(0x0A, {1}, "a"), {"element type 10"});
  refuses(idx(0x08, {1, 1, 1, 1, 1, 1, 1}, "a"), {"rank 7"});
  refuses(idx(0x08, {2}, "").substr(0, 6), {"extents"});
  refuses(idx(0x08, {5}, "abc"), {"takes 5 bytes", "3 follow"});
  refuses(idx(0x08, {2}, "abc"), {"unexpected bytes"});
  refuses(idx(0x0E, {0xffffffff, 0xffffffff, 0xffffffff}, ""), {"more elements"});
  expect_error([] { load_idx("/no/such"); }, {"/no/such", "No such file"});
}

CifarImages parse_cifar_text(const std::string& content, CifarKind kind) {
  return parse_cifar(std::as_bytes(std::span(content)), "x.bin", kind);
}

TEST(Cifar, ReadsRecordsOfBothKinds) {
  std::string planes;
  for (int i = 0; i < 3072; ++i) planes += static_cast<char>(i / 12);
  const CifarImages ten =
      parse_cifar_text("\7" + planes + "\2" + std::string(3072, '\5'), CifarKind::cifar10);
  EXPECT_EQ(ten.images.shape(), (Shape{2, 3, 32, 32}));
  EXPECT_EQ(ten.labels.values<int32_t>(), (std::vector<int32_t>{7, 2}));
  EXPECT_FALSE(ten.coarse_labels.defined());
  for (int64_t c : {0, 1, 2})
    for (int64_t y : {0, 31})
      EXPECT_EQ(ten.images.select(0, 0).select(0, c).select(0, y).select(0, 31).item(),
                static_cast<double>((c * 1024 + y * 32 + 31) / 12));
  EXPECT_EQ(ten.images.select(0, 1).values<uint8_t>(), std::vector<uint8_t>(3072, 5));
  const CifarImages hundred = parse_cifar_text("\x13\x63" + planes, CifarKind::cifar100);
  EXPECT_EQ(hundred.coarse_labels.values<int32_t>(), std::vector<int32_t>{19});
  EXPECT_EQ(hundred.labels.values<int32_t>(), std::vector<int32_t>{99});
  EXPECT_EQ(parse_cifar_text("", CifarKind::cifar10).images.shape(), (Shape{0, 3, 32, 32}));
}

TEST(Cifar, NamesWhatIsWrong) {
  const std::string record = std::string(1, '\3') + std::string(3072, 'p');
  expect_error([&] { parse_cifar_text(record + "x", CifarKind::cifar10); },
               {"x.bin", "3074 bytes", "3073"});
  expect_error([&] { parse_cifar_text(record + "\x0a" + record.substr(1), CifarKind::cifar10); },
               {"x.bin", "record 1", "label 10", "[0, 10)"});
  expect_error([&] { parse_cifar_text("\x14" + record, CifarKind::cifar100); },
               {"record 0", "label 20", "[0, 20)"});
  expect_error([&] { parse_cifar_text("\1\x64" + record.substr(1), CifarKind::cifar100); },
               {"label 100", "[0, 100)"});
  expect_error([] { load_cifar("/no/such", CifarKind::cifar10); }, {"/no/such", "No such file"});
}

}  // namespace
}  // namespace tessera
