#include "tessera/runtime/io/byte_source.hpp"

#include <zlib.h>

#include <algorithm>

namespace tessera {

ByteSource::~ByteSource() = default;

void ByteSource::read(void* to, uint64_t bytes, std::string_view what) {
  auto* at = static_cast<char*>(to);
  while (bytes > 0) {
    const size_t done = read_some(at, static_cast<size_t>(bytes));
    if (done == 0) fail("the file ends inside ", what, ", ", bytes, " bytes before its end");
    at += done;
    position_ += done;
    bytes -= done;
  }
}

void ByteSource::skip(uint64_t bytes, std::string_view what) {
  char passed[256];
  for (uint64_t n; bytes > 0; bytes -= n) {
    n = std::min<uint64_t>(bytes, sizeof passed);
    read(passed, n, what);
  }
}

void ByteSource::expect(uint64_t bytes, std::string_view what) {
  const uint64_t most = remaining_at_most();
  if (most < bytes) fail(what, " takes ", bytes, " bytes but at most ", most, " follow");
}

void ByteSource::expect_end(std::string_view what) {
  char next;
  if (read_some(&next, 1) != 0) fail("unexpected bytes after ", what);
}

size_t MemorySource::read_some(void* to, size_t bytes) {
  bytes = std::min(bytes, rest_.size());
  if (bytes == 0) return 0;
  std::memcpy(to, rest_.data(), bytes);
  rest_ = rest_.subspan(bytes);
  return bytes;
}

struct InflateSource::State {
  z_stream stream{};
  Format format;
  std::span<const std::byte> rest;  // not yet given to zlib, which counts in 32 bits
  bool ended = false;
};

InflateSource::InflateSource(std::span<const std::byte> compressed, Format format, std::string name)
    : ByteSource(std::move(name)), state_(std::make_unique<State>()) {
  state_->format = format;
  state_->rest = compressed;
  const int window = format == Format::gzip ? 15 + 16 : format == Format::zlib ? 15 : -15;
  if (inflateInit2(&state_->stream, window) != Z_OK)
    throw Error(ErrorKind::out_of_memory, concat(this->name(), ": cannot start the decompressor"));
}

InflateSource::~InflateSource() { inflateEnd(&state_->stream); }

size_t InflateSource::read_some(void* to, size_t bytes) {
  State& s = *state_;
  constexpr size_t most = size_t{1} << 30;
  s.stream.next_out = static_cast<Bytef*>(to);
  s.stream.avail_out = static_cast<uInt>(std::min(bytes, most));
  const uInt wanted = s.stream.avail_out;
  while (s.stream.avail_out == wanted) {
    if (s.stream.avail_in == 0 && !s.rest.empty()) {
      const size_t taken = std::min(s.rest.size(), most);
      s.stream.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(s.rest.data()));
      s.stream.avail_in = static_cast<uInt>(taken);
      s.rest = s.rest.subspan(taken);
    }
    if (s.ended) {  // a gzip file may hold several streams, one after another
      if (s.stream.avail_in == 0) return 0;
      if (s.format != Format::gzip) fail("bytes follow the end of the deflate stream");
      if (inflateReset(&s.stream) != Z_OK) fail("the decompressor cannot be reset");
      s.ended = false;
    }
    const int status = inflate(&s.stream, Z_NO_FLUSH);
    if (status == Z_STREAM_END) {
      s.ended = true;
    } else if (status == Z_BUF_ERROR) {
      fail("the compressed data ends too early");
    } else if (status == Z_MEM_ERROR) {
      throw Error(ErrorKind::out_of_memory, concat(name(), ": no memory to decompress"));
    } else if (status != Z_OK) {
      fail("damaged compressed data: ", s.stream.msg ? s.stream.msg : "not a valid stream");
    }
  }
  return wanted - s.stream.avail_out;
}

uint64_t InflateSource::remaining_at_most() const {
  // One deflate symbol gives at most 258 bytes and takes at least one bit for each of its two
  // codes: no stream expands more than 1032 times. What zlib has read but not yet given out fits
  // its window.
  const uint64_t compressed = state_->rest.size() + state_->stream.avail_in;
  return (compressed + 1) * 1032 + (uint64_t{1} << 16);
}

}  // namespace tessera
