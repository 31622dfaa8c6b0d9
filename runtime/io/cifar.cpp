#include "tessera/runtime/io/cifar.hpp"

#include "tessera/runtime/io/byte_source.hpp"
#include "tessera/runtime/io/mapped_file.hpp"

namespace tessera {
namespace {
constexpr int64_t pixels = 3 * 32 * 32;
}

CifarImages parse_cifar(std::span<const std::byte> bytes, std::string_view name, CifarKind kind) {
  const bool fine = kind == CifarKind::cifar100;
  const size_t record = pixels + (fine ? 2 : 1);
  MemorySource source(bytes, std::string(name));
  if (bytes.size() % record != 0)
    throw Error(ErrorKind::io,
                concat(name, ": ", bytes.size(), " bytes are no whole number of records of ",
                       record, " bytes; is the file truncated, or of the other CIFAR kind?"));
  const auto n = static_cast<int64_t>(bytes.size() / record);
  CifarImages out;
  out.images = Tensor::empty({n, 3, 32, 32}, DType::u8, Device::cpu());
  out.labels = Tensor::empty({n}, DType::i32, Device::cpu());
  if (fine) out.coarse_labels = Tensor::empty({n}, DType::i32, Device::cpu());
  const auto read_label = [&](int64_t i, int classes, Tensor& labels) {
    const int label = source.read_integer<uint8_t>(std::endian::little, "a label");
    if (label >= classes)
      source.fail("record ", i, " has label ", label, "; expected one in [0, ", classes, ")");
    labels.host_mutable<int32_t>()[static_cast<size_t>(i)] = label;
  };
  for (int64_t i = 0; i < n; ++i) {
    if (fine) read_label(i, 20, out.coarse_labels);
    read_label(i, fine ? 100 : 10, out.labels);
    source.read(out.images.host_mutable<uint8_t>().data() + i * pixels, pixels, "an image");
  }
  return out;
}

CifarImages load_cifar(const std::string& path, CifarKind kind) {
  return parse_cifar(MappedFile::open(path)->bytes(), path, kind);
}

}  // namespace tessera
