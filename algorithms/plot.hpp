#pragma once

#include <span>
#include <string>
#include <vector>

namespace tessera::algorithms {

/// A line through (x[i], y[i]); points that are not finite leave a gap.
struct Curve {
  std::string name;
  std::vector<double> x, y;
};

/// One pair of axes.
struct Plot {
  std::string title, x_label, y_label;
  std::vector<Curve> curves;
};

/// The plots side by side as an SVG picture: axes with round ticks, lines, a legend where there are
/// several curves.
std::string to_svg(std::span<const Plot> plots);

/// At most `most` + 1 round numbers (1, 2 or 5 times a power of ten apart) that enclose [low,
/// high].
std::vector<double> round_ticks(double low, double high, int most = 6);

}  // namespace tessera::algorithms
