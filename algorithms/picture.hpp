#pragma once

#include <span>
#include <vector>

#include "tessera/algorithms/plot.hpp"
#include "tessera/models/data/cube.hpp"

/// Pictures for save_png: u8 [height, width, 3].
namespace tessera::algorithms {

/// Values [rows * columns] in colours from dark blue (low) to yellow (high); what lies outside
/// takes the end's colour, what is no number is grey.
Tensor colour_map(std::span<const double> values, int64_t rows, int64_t columns, double low,
                  double high);
/// The scale of a colour map, high above low.
Tensor colour_bar(int64_t height, int64_t width);
/// A hyperspectral image in red, green and blue: the bands nearest to 640, 550 and 460 where
/// wavelengths are known and reach that far, else the last, middle and first. Each band is
/// stretched from its 2nd to its 98th percentile, then taken to the power 1/2.
Tensor pseudo_rgb(const models::Cube& cube);
/// True pixels white, others black.
Tensor black_and_white(std::span<const uint8_t> mask, int64_t rows, int64_t columns);

/// A curve in dark blue over grey lines at whole numbers of y, without text; its x rises.
Tensor line_picture(const Curve& curve, int64_t height, int64_t width);

/// Every pixel as a square of `factor` pixels.
Tensor enlarged(const Tensor& picture, int64_t factor);
/// In a row with white gaps, aligned at the top.
Tensor side_by_side(const std::vector<Tensor>& pictures, int64_t gap = 8);

}  // namespace tessera::algorithms
