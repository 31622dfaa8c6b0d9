#include "tessera/runtime/io/zip.hpp"

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <unordered_set>

namespace tessera {
namespace {

constexpr uint32_t local_signature = 0x04034b50, directory_signature = 0x02014b50;
constexpr uint32_t end_signature = 0x06054b50;
constexpr uint32_t end64_signature = 0x06064b50, locator64_signature = 0x07064b50;
constexpr uint64_t local_size = 30, entry_size = 46, end_size = 22, end64_size = 56,
                   locator64_size = 20;
constexpr uint16_t extra64 = 0x0001;

template <class T>
T take(ByteSource& source, std::string_view what) {
  return source.read_integer<T>(std::endian::little, what);
}

std::string take_text(ByteSource& source, size_t size, std::string_view what) {
  std::string text(size, '\0');
  source.read(text.data(), size, what);
  return text;
}

uint32_t crc_of(uint32_t crc, const void* data, size_t bytes) {
  if (bytes == 0) return crc;  // zlib would start anew for a null pointer
  return static_cast<uint32_t>(crc32_z(crc, static_cast<const Bytef*>(data), bytes));
}

// The expanded content of a member, cut at the size the directory declares.
class MemberSource final : public ByteSource {
 public:
  MemberSource(std::unique_ptr<ByteSource> content, const ZipReader::Member& member)
      : ByteSource(content->name()),
        content_(std::move(content)),
        left_(member.size),
        crc_(member.crc) {
    if (left_ == 0) check_end();
  }
  uint64_t remaining_at_most() const override {
    return std::min(left_, content_->remaining_at_most());
  }

 private:
  size_t read_some(void* to, size_t bytes) override {
    bytes = static_cast<size_t>(std::min<uint64_t>(bytes, left_));
    if (bytes == 0) return 0;
    content_->read(to, bytes, "the member");
    seen_ = crc_of(seen_, to, bytes);
    left_ -= bytes;
    if (left_ == 0) check_end();
    return bytes;
  }
  void check_end() {
    content_->expect_end("the size that the directory declares");
    if (seen_ != crc_) fail("the CRC of the content is ", seen_, ", the directory declares ", crc_);
  }

  std::unique_ptr<ByteSource> content_;
  uint64_t left_;
  uint32_t crc_, seen_ = 0;
};

}  // namespace

ZipReader::ZipReader(std::span<const std::byte> archive, std::string name)
    : archive_(archive), name_(std::move(name)) {
  read_directory();
  check_overlaps();
}

void ZipReader::read_directory() {
  const auto fail = [&](const auto&... parts) {
    throw Error(ErrorKind::io, concat(name_, ": not a ZIP archive: ", parts...));
  };
  const auto at = [&](uint64_t position) {
    return MemorySource(archive_.subspan(position), name_, position);
  };
  // The end record has a comment of up to 64 KiB behind it and nothing else tells where it begins.
  if (archive_.size() < end_size) fail("only ", archive_.size(), " bytes");
  uint64_t end = archive_.size() - end_size;
  const uint64_t lowest = end > UINT16_MAX ? end - UINT16_MAX : 0;
  const auto is_end = [&](uint64_t position) {
    const auto* record = reinterpret_cast<const unsigned char*>(archive_.data() + position);
    const uint64_t comment = record[end_size - 2] | uint64_t{record[end_size - 1]} << 8;
    return std::memcmp(record, "PK\5\6", 4) == 0 &&
           position + end_size + comment == archive_.size();
  };
  while (!is_end(end)) {
    if (end == lowest) {
      if (std::memcmp(archive_.data(), "PK", 2) != 0) fail("it does not begin with 'PK'");
      fail("no end-of-directory record; is the file truncated?");
    }
    --end;
  }

  MemorySource record = at(end + 4);
  const auto disk = take<uint16_t>(record, "the end record");
  const auto directory_disk = take<uint16_t>(record, "the end record");
  uint64_t count_here = take<uint16_t>(record, "the end record");
  uint64_t count = take<uint16_t>(record, "the end record");
  uint64_t size = take<uint32_t>(record, "the end record");
  uint64_t begin = take<uint32_t>(record, "the end record");
  uint64_t limit = end;
  if (count == UINT16_MAX || size == UINT32_MAX || begin == UINT32_MAX) {
    if (end < locator64_size) fail("the ZIP64 locator is missing");
    MemorySource locator = at(end - locator64_size);
    if (take<uint32_t>(locator, "the ZIP64 locator") != locator64_signature)
      fail("the ZIP64 locator is missing");
    take<uint32_t>(locator, "the ZIP64 locator");
    const auto end64 = take<uint64_t>(locator, "the ZIP64 locator");
    limit = end - locator64_size;
    if (end64 > limit || limit - end64 < end64_size)
      fail("the ZIP64 end record is outside the file");
    MemorySource record64 = at(end64);
    if (take<uint32_t>(record64, "the ZIP64 end record") != end64_signature)
      fail("there is no ZIP64 end record at byte ", end64);
    record64.skip(20, "the ZIP64 end record");  // its size, versions, disks
    count_here = take<uint64_t>(record64, "the ZIP64 end record");
    count = take<uint64_t>(record64, "the ZIP64 end record");
    size = take<uint64_t>(record64, "the ZIP64 end record");
    begin = take<uint64_t>(record64, "the ZIP64 end record");
    limit = end64;
  }
  if (disk != directory_disk || count_here != count)
    fail("archives in several parts are not supported");
  if (begin > limit || size > limit - begin)
    fail("the directory, ", size, " bytes at byte ", begin, ", is outside the file");
  if (count > size / entry_size) fail(count, " members do not fit a directory of ", size, " bytes");

  MemorySource directory(archive_.subspan(begin, size), name_, begin);
  std::unordered_set<std::string> names;
  for (uint64_t i = 0; i < count; ++i) {
    constexpr std::string_view what = "a directory entry";
    if (take<uint32_t>(directory, what) != directory_signature)
      directory.fail("directory entry ", i, " of ", count, " has a wrong signature");
    Member m;
    directory.skip(4, what);  // versions
    const auto flags = take<uint16_t>(directory, what);
    m.method = take<uint16_t>(directory, what);
    directory.skip(4, what);  // time and date
    m.crc = take<uint32_t>(directory, what);
    m.compressed = take<uint32_t>(directory, what);
    m.size = take<uint32_t>(directory, what);
    const auto name_size = take<uint16_t>(directory, what);
    const auto extra_size = take<uint16_t>(directory, what);
    const auto comment_size = take<uint16_t>(directory, what);
    directory.skip(8, what);  // disk, attributes
    m.begin = take<uint32_t>(directory, what);
    m.name = take_text(directory, name_size, what);
    const std::string extra = take_text(directory, extra_size, what);
    directory.skip(comment_size, what);

    MemorySource fields(std::as_bytes(std::span(extra)),
                        concat(name_, ", extra field of '", m.name, "'"));
    while (fields.remaining_at_most() >= 4) {
      const auto id = take<uint16_t>(fields, "a field");
      const auto field_size = take<uint16_t>(fields, "a field");
      const std::string field = take_text(fields, field_size, "a field");
      if (id != extra64) continue;
      MemorySource values(std::as_bytes(std::span(field)), fields.name());
      for (uint64_t* value : {&m.size, &m.compressed, &m.begin})
        if (*value == UINT32_MAX) *value = take<uint64_t>(values, "the ZIP64 sizes");
    }
    if (!names.insert(m.name).second) directory.fail("member '", m.name, "' is there twice");
    if (flags & 1) directory.fail("member '", m.name, "' is encrypted");
    locate_data(m, begin);
    members_.push_back(std::move(m));
  }
}

void ZipReader::locate_data(Member& m, uint64_t directory) const {
  const auto fail = [&](const auto&... parts) {
    throw Error(ErrorKind::io, concat(name_, ", member '", m.name, "': ", parts...));
  };
  if (m.begin > directory || directory - m.begin < local_size)
    fail("its header at byte ", m.begin, " is outside the file");
  MemorySource header(archive_.subspan(m.begin, directory - m.begin), name_, m.begin);
  constexpr std::string_view what = "a member's header";
  if (take<uint32_t>(header, what) != local_signature) fail("there is no header at byte ", m.begin);
  header.skip(22, what);  // repeats the directory, or is empty
  const auto name_size = take<uint16_t>(header, what);
  const auto extra_size = take<uint16_t>(header, what);
  if (const std::string name = take_text(header, name_size, what); name != m.name)
    fail("the header at byte ", m.begin, " names '", name, "'");
  header.skip(extra_size, what);
  m.data = header.position();
  if (m.compressed > directory - m.data)
    fail(m.compressed, " bytes at byte ", m.data,
         " reach into the directory; is the file truncated?");
}

void ZipReader::check_overlaps() const {
  // Members that share bytes are how small archives expand without bound.
  std::vector<const Member*> order;
  order.reserve(members_.size());
  for (const Member& m : members_) order.push_back(&m);
  std::sort(order.begin(), order.end(), [](auto* a, auto* b) { return a->begin < b->begin; });
  for (size_t i = 1; i < order.size(); ++i)
    if (order[i]->begin < order[i - 1]->data + order[i - 1]->compressed)
      throw Error(ErrorKind::io, concat(name_, ": members '", order[i - 1]->name, "' and '",
                                        order[i]->name, "' overlap"));
}

std::unique_ptr<ByteSource> ZipReader::open(const Member& m) const {
  const std::string name = concat(name_, ", member '", m.name, "'");
  const auto data = archive_.subspan(m.data, m.compressed);
  std::unique_ptr<ByteSource> content;
  if (m.method == static_cast<uint16_t>(ZipWriter::Method::stored))
    content = std::make_unique<MemorySource>(data, name);
  else if (m.method == static_cast<uint16_t>(ZipWriter::Method::deflated))
    content = std::make_unique<InflateSource>(data, InflateSource::Format::deflate, name);
  else
    throw Error(ErrorKind::io, concat(name, ": compression method ", m.method,
                                      " is not supported; expected stored (0) or deflated (8)"));
  return std::make_unique<MemberSource>(std::move(content), m);
}

namespace {

// Little-endian fields one after another.
class Fields {
 public:
  template <class T>
  Fields& add(uint64_t value) {
    for (size_t i = 0; i < sizeof(T); ++i) text += static_cast<char>(value >> (8 * i));
    return *this;
  }
  std::string text;
};

class Deflater {
 public:
  Deflater() {
    if (deflateInit2(&stream_, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY) !=
        Z_OK)
      throw Error(ErrorKind::out_of_memory, "cannot start the compressor");
  }
  ~Deflater() { deflateEnd(&stream_); }
  Deflater(const Deflater&) = delete;
  Deflater& operator=(const Deflater&) = delete;

  void add(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const size_t n = std::min(bytes.size(), size_t{1} << 30);  // zlib counts in 32 bits
      stream_.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(bytes.data()));
      stream_.avail_in = static_cast<uInt>(n);
      run(Z_NO_FLUSH);
      bytes = bytes.subspan(n);
    }
  }
  std::span<const std::byte> finish() {
    run(Z_FINISH);
    return out_;
  }

 private:
  void run(int flush) {
    do {
      stream_.next_out = reinterpret_cast<Bytef*>(block_.data());
      stream_.avail_out = static_cast<uInt>(block_.size());
      deflate(&stream_, flush);
      out_.insert(out_.end(), block_.begin(), block_.end() - stream_.avail_out);
    } while (stream_.avail_out == 0);
  }

  z_stream stream_{};
  std::vector<std::byte> out_, block_ = std::vector<std::byte>(size_t{1} << 18);
};

constexpr uint16_t dos_date = 0x0021;  // 1980-01-01, the first there is

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

}  // namespace

void ZipWriter::add(std::string_view name, std::span<const std::byte> head,
                    std::span<const std::byte> body) {
  TS_CHECK(!name.empty() && name.size() <= UINT16_MAX, "ZIP: a member's name has ", name.size(),
           " bytes");
  const uint32_t crc = crc_of(crc_of(0, head.data(), head.size()), body.data(), body.size());
  const uint64_t size = head.size() + body.size();
  std::optional<Deflater> deflater;
  if (method_ == Method::deflated) {
    deflater.emplace();
    deflater->add(head);
    deflater->add(body);
    head = deflater->finish();
    body = {};
  }
  const uint64_t compressed = head.size() + body.size(), begin = position_;
  const auto narrow = [&](uint64_t value) { return value < zip64_from_ ? value : UINT32_MAX; };
  const bool wide = size >= zip64_from_ || compressed >= zip64_from_;
  const auto version = static_cast<uint16_t>(wide || begin >= zip64_from_ ? 45 : 20);
  const bool ascii = std::all_of(name.begin(), name.end(), [](char c) { return (c & 0x80) == 0; });

  Fields common;  // what the local header and the directory entry share
  common.add<uint16_t>(version)
      .add<uint16_t>(ascii ? 0 : 0x0800)
      .add<uint16_t>(static_cast<uint16_t>(method_));
  common.add<uint16_t>(0).add<uint16_t>(dos_date).add<uint32_t>(crc);
  // A local header has both sizes in its ZIP64 field or none.
  common.add<uint32_t>(wide ? UINT32_MAX : compressed).add<uint32_t>(wide ? UINT32_MAX : size);
  common.add<uint16_t>(name.size());
  Fields sizes;
  if (wide) sizes.add<uint64_t>(size).add<uint64_t>(compressed);
  const auto with_head = [](const std::string& values) {
    return values.empty()
               ? values
               : Fields().add<uint16_t>(extra64).add<uint16_t>(values.size()).text + values;
  };
  const std::string extra = with_head(sizes.text);
  Fields local;
  local.add<uint32_t>(local_signature);
  local.text += common.text;
  local.add<uint16_t>(extra.size());
  local.text.append(name).append(extra);
  write(bytes_of(local.text));
  write(head);
  write(body);

  if (begin >= zip64_from_) sizes.add<uint64_t>(begin);
  const std::string directory_extra = with_head(sizes.text);
  Fields entry;
  entry.add<uint32_t>(directory_signature).add<uint16_t>(version);
  entry.text += common.text;
  entry.add<uint16_t>(directory_extra.size()).add<uint16_t>(0);  // no comment
  entry.add<uint16_t>(0).add<uint16_t>(0).add<uint32_t>(0);      // disk, attributes
  entry.add<uint32_t>(narrow(begin));
  entry.text.append(name).append(directory_extra);
  directory_ += entry.text;
  ++count_;
}

void ZipWriter::finish() {
  const uint64_t begin = position_, size = directory_.size();
  write(bytes_of(directory_));
  const bool wide = begin >= zip64_from_ || size >= zip64_from_ ||
                    count_ >= std::min<uint64_t>(zip64_from_, UINT16_MAX);
  Fields end;
  if (wide) {
    const uint64_t end64 = position_;
    end.add<uint32_t>(end64_signature)
        .add<uint64_t>(end64_size - 12)
        .add<uint16_t>(45)
        .add<uint16_t>(45);
    end.add<uint32_t>(0).add<uint32_t>(0).add<uint64_t>(count_).add<uint64_t>(count_);
    end.add<uint64_t>(size).add<uint64_t>(begin);
    end.add<uint32_t>(locator64_signature).add<uint32_t>(0).add<uint64_t>(end64).add<uint32_t>(1);
  }
  const uint64_t count16 = wide ? UINT16_MAX : count_;
  end.add<uint32_t>(end_signature)
      .add<uint16_t>(0)
      .add<uint16_t>(0)
      .add<uint16_t>(count16)
      .add<uint16_t>(count16);
  end.add<uint32_t>(wide ? UINT32_MAX : size)
      .add<uint32_t>(wide ? UINT32_MAX : begin)
      .add<uint16_t>(0);
  write(bytes_of(end.text));
}

void ZipWriter::write(std::span<const std::byte> bytes) {
  file_.write(bytes.data(), bytes.size());
  position_ += bytes.size();
}

}  // namespace tessera
