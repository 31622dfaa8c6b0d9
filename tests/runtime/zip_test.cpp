#include "tessera/runtime/io/zip.hpp"

#include <gtest/gtest.h>

#include "tessera/tests/support/files.hpp"

namespace tessera {
namespace {

using test::expect_error;
using test::TemporaryFolder;

// Archives built field by field, independently of ZipWriter.
template <class T>
std::string le(uint64_t value) {
  std::string out;
  for (size_t i = 0; i < sizeof(T); ++i) out += static_cast<char>(value >> (8 * i));
  return out;
}
std::string u16(uint64_t value) { return le<uint16_t>(value); }
std::string u32(uint64_t value) { return le<uint32_t>(value); }
std::string u64(uint64_t value) { return le<uint64_t>(value); }

struct Fields {
  std::string name = "a";
  uint16_t flags = 0, method = 0;
  uint32_t crc = 0xE8B7BE43;  // of "a"
  uint64_t compressed = 1, size = 1, begin = 0;
  std::string extra;
};

std::string local(const Fields& f, const std::string& data) {
  return u32(0x04034b50) + u16(20) + u16(f.flags) + u16(f.method) + u32(0) + u32(f.crc) +
         u32(f.compressed) + u32(f.size) + u16(f.name.size()) + u16(0) + f.name + data;
}
std::string entry(const Fields& f) {
  return u32(0x02014b50) + u16(20) + u16(20) + u16(f.flags) + u16(f.method) + u32(0) + u32(f.crc) +
         u32(f.compressed) + u32(f.size) + u16(f.name.size()) + u16(f.extra.size()) + u16(0) +
         u64(0) + u32(f.begin) + f.name + f.extra;
}
std::string end(uint64_t count, uint64_t size, uint64_t begin, const std::string& comment = {}) {
  return u32(0x06054b50) + u16(0) + u16(0) + u16(count) + u16(count) + u32(size) + u32(begin) +
         u16(comment.size()) + comment;
}
std::string archive(const std::string& locals, const std::vector<Fields>& entries) {
  std::string directory;
  for (const Fields& f : entries) directory += entry(f);
  return locals + directory + end(entries.size(), directory.size(), locals.size());
}

// The contents of all members.
std::vector<std::string> read(const std::string& bytes) {
  const ZipReader zip(std::as_bytes(std::span(bytes)), "x.zip");
  std::vector<std::string> out;
  for (const auto& member : zip.members()) {
    const auto source = zip.open(member);
    std::string content(member.size, '\0');
    source->read(content.data(), content.size(), "content");
    source->expect_end("content");
    out.push_back(content);
  }
  return out;
}

void refuses(const std::string& bytes, const std::vector<std::string>& parts) {
  std::vector<std::string> all{"x.zip"};
  all.insert(all.end(), parts.begin(), parts.end());
  expect_error([&] { read(bytes); }, all);
}

TEST(Zip, ReadsCraftedArchives) {
  const Fields a;
  EXPECT_EQ(read(archive(local(a, "a"), {a})), std::vector<std::string>{"a"});
  EXPECT_TRUE(read(end(0, 0, 0)).empty());
  EXPECT_TRUE(read(end(0, 0, 0, "a comment PK\5\6")).empty());
  Fields empty;
  empty.crc = 0;
  empty.size = empty.compressed = 0;
  EXPECT_EQ(read(archive(local(empty, ""), {empty})), std::vector<std::string>{""});
  // Sizes in a data descriptor behind the content, as streaming writers do.
  Fields streamed = a;
  streamed.flags = 8;
  Fields header = streamed;
  header.size = header.compressed = header.crc = 0;
  EXPECT_EQ(read(archive(local(header, "a" + u32(0x08074b50) + u32(a.crc) + u32(1) + u32(1)),
                         {streamed})),
            std::vector<std::string>{"a"});
}

TEST(Zip, ReadsZip64Records) {
  Fields wide;
  wide.compressed = wide.size = wide.begin = UINT32_MAX;
  wide.extra = u16(0x7777) + u16(3) + "xyz" + u16(1) + u16(24) + u64(1) + u64(1) + u64(0);
  const std::string content = local(wide, "a"), directory = entry(wide);
  const std::string end64 = u32(0x06064b50) + u64(44) + u16(45) + u16(45) + u32(0) + u32(0) +
                            u64(1) + u64(1) + u64(directory.size()) + u64(content.size());
  const std::string locator =
      u32(0x07064b50) + u32(0) + u64(content.size() + directory.size()) + u32(1);
  const std::string tail = end(UINT16_MAX, UINT32_MAX, UINT32_MAX);
  EXPECT_EQ(read(content + directory + end64 + locator + tail), std::vector<std::string>{"a"});
  refuses(content + directory + end64 + tail, {"ZIP64 locator"});
  refuses(content + directory + end64 + u32(0x07064b50) + u32(0) + u64(UINT64_MAX) + u32(1) + tail,
          {"ZIP64 end record"});
  refuses(content + directory + end64 + u32(0x07064b50) + u32(0) + u64(0) + u32(1) + tail,
          {"ZIP64 end record"});
  wide.extra = u16(1) + u16(8) + u64(1);
  refuses(archive(content, {wide}), {"'a'", "ZIP64"});
}

TEST(Zip, NamesWhatIsWrong) {
  const Fields a;
  const std::string good = archive(local(a, "a"), {a});
  refuses("", {"not a ZIP archive"});
  refuses(std::string(100000, 'x'), {"does not begin with 'PK'"});
  for (size_t n = 1; n < good.size(); ++n) refuses(good.substr(0, n), {});
  refuses(good + "x", {"end-of-directory"});
  refuses(local(a, "a") + entry(a) + end(1, 10000, 32), {"directory", "outside"});
  refuses(local(a, "a") + entry(a) + end(40, entry(a).size(), 32), {"40 members"});
  refuses(local(a, "a") + entry(a) + end(1, entry(a).size() - 1, 32), {"inside"});
  const auto refuses_entry = [&](const std::function<void(Fields&)>& change,
                                 const std::vector<std::string>& parts) {
    Fields changed;
    change(changed);
    refuses(archive(local(a, "a"), {changed}), parts);
  };
  refuses_entry([](Fields& f) { f.name.assign(1, 'b'); }, {"'b'", "names 'a'"});
  refuses_entry([](Fields& f) { f.flags = 1; }, {"'a'", "encrypted"});
  refuses_entry([](Fields& f) { f.method = 12; }, {"'a'", "method 12"});
  refuses_entry([](Fields& f) { f.crc = 7; }, {"'a'", "CRC"});
  refuses_entry([](Fields& f) { f.begin = 1; }, {"'a'", "header at byte 1"});
  refuses_entry([](Fields& f) { f.begin = 5000; }, {"'a'", "outside"});
  refuses_entry([](Fields& f) { f.compressed = 2; }, {"'a'", "truncated"});
  refuses_entry([](Fields& f) { f.size = 2; }, {"'a'", "ends inside"});
  refuses_entry([](Fields& f) { f.size = 0; }, {"'a'", "unexpected bytes"});
  refuses_entry([](Fields& f) { f.method = 8; }, {"'a'"});
  refuses(archive(local(a, "a"), {a, a}), {"'a'", "twice"});
  // A second header inside the first member's content.
  Fields inner, outer;
  inner.name = "b";
  inner.begin = 31;
  const std::string nested = local(inner, "a");
  outer.compressed = outer.size = nested.size();
  refuses(archive(local(outer, nested), {outer, inner}), {"'a'", "'b'", "overlap"});
}

TEST(Zip, WriterRoundTripWithAndWithoutZip64) {
  const TemporaryFolder folder;
  std::string large(100000, 'q');
  for (size_t i = 0; i < large.size(); i += 3) large[i] = static_cast<char>(i * i);
  for (const auto method : {ZipWriter::Method::stored, ZipWriter::Method::deflated}) {
    for (const uint64_t limit : {uint64_t{0xFFFFFFFF}, uint64_t{0}, uint64_t{40}}) {
      AtomicFile file(folder / "t.zip");
      ZipWriter writer(file, method, limit);
      writer.add("large", std::as_bytes(std::span(large)).first(77),
                 std::as_bytes(std::span(large)).subspan(77));
      writer.add("\xc3\xa9", {}, {});
      writer.add("small", {}, std::as_bytes(std::span("abc", 3)));
      writer.finish();
      file.commit();
      const auto bytes = test::read_bytes(folder / "t.zip");
      EXPECT_EQ(read({reinterpret_cast<const char*>(bytes.data()), bytes.size()}),
                (std::vector<std::string>{large, "", "abc"}));
    }
  }
}

}  // namespace
}  // namespace tessera
