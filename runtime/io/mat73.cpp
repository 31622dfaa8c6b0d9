#include "tessera/runtime/error.hpp"
#include "tessera/runtime/io/mat_reader.hpp"

#ifdef TESSERA_HAVE_MATIO

#include <matio.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>

namespace tessera {
namespace {

struct FreeVariable {
  void operator()(matvar_t* v) const { Mat_VarFree(v); }
};
using VariablePointer = std::unique_ptr<matvar_t, FreeVariable>;

struct CloseFile {
  void operator()(mat_t* file) const { Mat_Close(file); }
};

struct Class {
  std::string_view name;
  std::optional<DType> dtype;
};
Class class_of(const matvar_t& v) {
  switch (v.class_type) {
    case MAT_C_DOUBLE:
      return {"double", DType::f64};
    case MAT_C_SINGLE:
      return {"single", DType::f32};
    case MAT_C_INT8:
      return {"int8", DType::i8};
    case MAT_C_UINT8:
      return v.isLogical ? Class{"logical", DType::bool_} : Class{"uint8", DType::u8};
    case MAT_C_INT16:
      return {"int16", DType::i16};
    case MAT_C_UINT16:
      return {"uint16", DType::u16};
    case MAT_C_INT32:
      return {"int32", DType::i32};
    case MAT_C_UINT32:
      return {"uint32", DType::i64};
    case MAT_C_INT64:
      return {"int64", DType::i64};
    case MAT_C_UINT64:
      return {"uint64", DType::i64};
    case MAT_C_STRUCT:
      return {"struct", {}};
    case MAT_C_CELL:
      return {"cell", {}};
    case MAT_C_CHAR:
      return {"char", {}};
    case MAT_C_SPARSE:
      return {"sparse", {}};
    default:
      return {"object", {}};
  }
}

template <class From, class To>
void copy_as(const void* from, Tensor& to, const std::string& name) {
  const auto* in = static_cast<const From*>(from);
  auto* out = static_cast<To*>(to.data());
  for (int64_t i = 0; i < to.numel(); ++i) {
    if constexpr (std::is_same_v<From, uint64_t>)
      if (in[i] > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
        throw Error(ErrorKind::io,
                    concat(name, ": element ", i, " is ", in[i], ", which does not fit i64"));
    out[i] = static_cast<To>(in[i]);
  }
}

class Hdf5Reader final : public MatFile::Reader {
 public:
  explicit Hdf5Reader(const std::string& path)
      : Reader(path), file_(Mat_Open(path.c_str(), MAT_ACC_RDONLY)) {
    if (!file_) throw Error(ErrorKind::io, concat(path, ": libmatio cannot read this HDF5 file"));
    Mat_Rewind(file_.get());
    while (const VariablePointer v{Mat_VarReadNextInfo(file_.get())}) {
      if (!v->name) continue;
      const Class c = class_of(*v);
      const bool numeric = c.dtype && !v->isComplex && v->rank <= max_rank && v->rank >= 1;
      Shape shape;
      for (int i = 0; numeric && i < v->rank; ++i)
        shape.push_back(static_cast<int64_t>(v->dims[i]));
      variables_.push_back(
          {v->name, concat(v->isComplex ? "complex " : "", c.name), shape, numeric});
    }
  }

  Tensor load(size_t index) const override {
    const std::string& wanted = variables_[index].name;
    const std::string what = concat(name(), ", '", wanted, "'");
    const VariablePointer v{Mat_VarRead(file_.get(), wanted.c_str())};
    if (!v || (!v->data && v->nbytes > 0))
      throw Error(ErrorKind::io, concat(what, ": libmatio cannot read this variable"));
    const Shape& shape = variables_[index].shape;
    Shape stored = shape;
    std::reverse(stored.begin(), stored.end());
    Tensor columns = Tensor::empty(stored, *class_of(*v).dtype, Device::cpu());
    const auto expected = static_cast<size_t>(columns.numel()) * static_cast<size_t>(v->data_size);
    if (v->nbytes != expected)
      throw Error(ErrorKind::io, concat(what, ": ", v->nbytes, " bytes for dimensions ", shape));
    copy(*v, columns, what);
    Axes axes;
    for (int i = stored.rank() - 1; i >= 0; --i) axes.push_back(i);
    return columns.permute(axes).clone();
  }

 private:
  static void copy(const matvar_t& v, Tensor& to, const std::string& what) {
    if (to.numel() == 0) return;
    switch (v.class_type) {
      case MAT_C_UINT32:
        return copy_as<uint32_t, int64_t>(v.data, to, what);
      case MAT_C_UINT64:
        return copy_as<uint64_t, int64_t>(v.data, to, what);
      default:
        if (v.nbytes != static_cast<size_t>(to.numel()) * size_of(to.dtype()))
          throw Error(ErrorKind::io,
                      concat(what, ": elements of ", v.data_size, " bytes for ", to.dtype()));
        std::memcpy(to.data(), v.data, v.nbytes);
    }
  }

  std::unique_ptr<mat_t, CloseFile> file_;
};

}  // namespace

bool mat73_available() { return true; }
std::unique_ptr<MatFile::Reader> open_mat73(const std::string& path) {
  return std::make_unique<Hdf5Reader>(path);
}

}  // namespace tessera

#else

namespace tessera {

bool mat73_available() { return false; }
std::unique_ptr<MatFile::Reader> open_mat73(const std::string& path) {
  throw Error(ErrorKind::unsupported,
              concat(path,
                     ": a MATLAB 7.3 file (HDF5), and this build has no libmatio: install "
                     "libmatio-dev and build again, or save it in MATLAB with -v7"));
}

}  // namespace tessera

#endif
