#pragma once

#include <algorithm>

#include "tessera/kernels/cpu/correlation.hpp"
#include "tessera/kernels/cpu/transpose.hpp"

/// Rows of an image between their layout in memory and zero-padded rows with channels innermost,
/// each pixel a whole number of vectors.
namespace tessera::kernels::cpu {

/// Where the padded copy of some rows lies: pixel (r, c) is at data + (r * width + c) * channels.
template <class T>
struct PaddedRows {
  T* data;
  int64_t width, channels;  // channels: padded to vectors
  T* pixel(int64_t row, int64_t column) const { return data + (row * width + column) * channels; }
};

constexpr int64_t round_up(int64_t n, int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

/// A walk over consecutive pixels of rows that lie without gaps in the image, vectors at a time.
template <class T>
class PixelWalk {
 public:
  PixelWalk(const PaddedRows<T>& rows, int64_t image_width, int64_t row, int64_t column)
      : rows_(rows), image_width_(image_width), next_(rows.pixel(row, column)) {}
  T* next() {
    T* pixel = next_;
    next_ += rows_.channels;
    if (++column_ == image_width_) {
      column_ = 0;
      next_ += (rows_.width - image_width_) * rows_.channels;
    }
    return pixel;
  }

 private:
  const PaddedRows<T>& rows_;
  int64_t image_width_, column_ = 0;
  T* next_;
};

/// Fills rows 0 .. count - 1 of `out` with image rows first, first + 1, ..; image column c goes to
/// column c + left, and what lies outside of the image is zero. `x`: the image's first element of
/// `channels` channels.
template <class E, class T>
void load_rows(const E* x, const ImageLayout& stride, int64_t channels, int64_t height,
               int64_t width, int64_t first, int64_t count, int64_t left,
               const PaddedRows<T>& out) {
  constexpr int64_t n = Vec<T>::width;
  const int64_t begin = std::clamp<int64_t>(-first, 0, count),
                end = std::clamp(height - first, begin, count);
  const int64_t copied = std::clamp<int64_t>(out.width - left, 0, width),
                right = out.width - left - copied;
  std::fill_n(out.data, begin * out.width * out.channels, T(0));
  std::fill_n(out.pixel(end, 0), (count - end) * out.width * out.channels, T(0));
  for (int64_t r = begin; r < end; ++r) {
    std::fill_n(out.pixel(r, 0), left * out.channels, T(0));
    std::fill_n(out.pixel(r, left + copied), right * out.channels, T(0));
  }
  const E* from = x + (first + begin) * stride.row;
  if (stride.column == 1 && (stride.row == width || end - begin == 1) && copied == width) {
    const int64_t pixels = (end - begin) * width;
    for (int64_t c = 0; c < out.channels; c += n) {
      PixelWalk<T> walk(out, width, begin, left);
      for (int64_t p = 0; p < pixels; p += n) {
        const int64_t valid = std::min(n, pixels - p);
        const E* plane = from + c * stride.channel + p;
        Vec<T> v[n];
        if (valid == n && c + n <= channels) {
          unrolled<n>([&](auto i) __attribute__((always_inline)) {
            v[i] = load(plane + i * stride.channel);
          });
          transpose_square(v);
          unrolled<n>([&](auto i) __attribute__((always_inline)) { store(walk.next() + c, v[i]); });
          continue;
        }
        for (int64_t i = 0; i < n; ++i)
          v[i] = c + i < channels ? load(plane + i * stride.channel, valid) : Vec<T>(T(0));
        transpose_square(v);
        for (int64_t i = 0; i < valid; ++i) store(walk.next() + c, v[i]);
      }
    }
    return;
  }
  for (int64_t r = begin; r < end; ++r, from += stride.row)
    for (int64_t j = 0; j < copied; ++j) {
      T* to = out.pixel(r, left + j);
      for (int64_t c = 0; c < channels; ++c)
        to[c] = static_cast<T>(from[j * stride.column + c * stride.channel]);
      std::fill(to + channels, to + out.channels, T(0));
    }
}

/// Writes rows 0 .. count - 1, columns 0 .. width - 1 of `rows` to image rows whose first element
/// is y.
template <class E, class T>
void store_rows(const PaddedRows<T>& rows, int64_t count, int64_t channels, int64_t width, E* y,
                const ImageLayout& stride) {
  constexpr int64_t n = Vec<T>::width;
  if (stride.column == 1 && (stride.row == width || count == 1)) {
    const int64_t pixels = count * width;
    for (int64_t c = 0; c < channels; c += n) {
      PixelWalk<T> walk(rows, width, 0, 0);
      for (int64_t p = 0; p < pixels; p += n) {
        const int64_t valid = std::min(n, pixels - p);
        E* plane = y + c * stride.channel + p;
        Vec<T> v[n];
        if (valid == n && c + n <= channels) {
          unrolled<n>([&](auto i) __attribute__((always_inline)) { v[i] = load(walk.next() + c); });
          transpose_square(v);
          unrolled<n>([&](auto i) __attribute__((always_inline)) {
            store(plane + i * stride.channel, v[i]);
          });
          continue;
        }
        for (int64_t i = 0; i < n; ++i) v[i] = i < valid ? load(walk.next() + c) : Vec<T>(T(0));
        transpose_square(v);
        for (int64_t i = 0; i < std::min(n, channels - c); ++i)
          store(plane + i * stride.channel, v[i], valid);
      }
    }
    return;
  }
  for (int64_t r = 0; r < count; ++r)
    for (int64_t j = 0; j < width; ++j)
      for (int64_t c = 0; c < channels; ++c)
        y[r * stride.row + j * stride.column + c * stride.channel] =
            static_cast<E>(rows.pixel(r, j)[c]);
}

}  // namespace tessera::kernels::cpu
