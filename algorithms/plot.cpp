#include "tessera/algorithms/plot.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <string_view>

#include "tessera/runtime/error.hpp"

namespace tessera::algorithms {
namespace {

constexpr int panel_width = 440, panel_height = 320;
constexpr int left = 64, right = 16, top = 34, bottom = 48;  // margins inside a panel
// Okabe and Ito's colours, told apart by the colour-blind too.
constexpr const char* colors[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                  "#e69f00", "#56b4e9", "#000000"};

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else
      out += c;
  }
  return out;
}

std::string number(double value, const char* pattern = "%.6g") {
  char text[32];
  std::snprintf(text, sizeof text, pattern, value == 0 ? 0.0 : value);  // no "-0"
  return text;
}

std::string text_at(double x, double y, std::string_view anchor, std::string_view text,
                    std::string_view more = "") {
  return concat("<text x=\"", number(x, "%.1f"), "\" y=\"", number(y, "%.1f"), "\" text-anchor=\"",
                anchor, "\"", more, ">", escaped(text), "</text>\n");
}

std::string segment(double x1, double y1, double x2, double y2, std::string_view color) {
  return concat("<path d=\"M", number(x1, "%.1f"), " ", number(y1, "%.1f"), "L", number(x2, "%.1f"),
                " ", number(y2, "%.1f"), "\" stroke=\"", color, "\"/>\n");
}

struct Range {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  void include(double value) {
    if (!(std::abs(value) < 1e300)) return;  // a difference of two such values is finite
    low = std::min(low, value);
    high = std::max(high, value);
  }
};

/// Maps data to pixels along one axis.
struct Axis {
  std::vector<double> ticks;
  double from, to;  // pixels of the first and the last tick
  Axis(Range range, double from_, double to_) : from(from_), to(to_) {
    if (range.low > range.high) range = {0, 1};
    ticks = round_ticks(range.low, range.high);
  }
  double operator()(double value) const {
    return from + (value - ticks.front()) / (ticks.back() - ticks.front()) * (to - from);
  }
};

std::string path_of(const Curve& curve, const Axis& x, const Axis& y) {
  std::string path;
  bool down = false;
  for (size_t i = 0; i < std::min(curve.x.size(), curve.y.size()); ++i) {
    if (!std::isfinite(curve.x[i]) || !std::isfinite(curve.y[i])) {
      down = false;
      continue;
    }
    path +=
        concat(down ? "L" : "M", number(x(curve.x[i]), "%.1f"), " ", number(y(curve.y[i]), "%.1f"));
    down = true;
  }
  return path;
}

std::string panel(const Plot& plot) {
  Range x_range, y_range;
  for (const Curve& curve : plot.curves) {
    for (const double x : curve.x) x_range.include(x);
    for (const double y : curve.y) y_range.include(y);
  }
  const double x0 = left, x1 = panel_width - right, y0 = panel_height - bottom, y1 = top;
  const Axis x(x_range, x0, x1), y(y_range, y0, y1);

  std::string out;
  for (const double tick : y.ticks) {
    out += segment(x0, y(tick), x1, y(tick), "#dddddd");
    out += text_at(x0 - 6, y(tick) + 4, "end", number(tick));
  }
  for (const double tick : x.ticks) {
    out += segment(x(tick), y0, x(tick), y0 + 4, "#333333");
    out += text_at(x(tick), y0 + 18, "middle", number(tick));
  }
  out += segment(x0, y0, x1, y0, "#333333") + segment(x0, y0, x0, y1, "#333333");
  out += text_at((x0 + x1) / 2, 20, "middle", plot.title, " font-weight=\"bold\"");
  out += text_at((x0 + x1) / 2, panel_height - 10, "middle", plot.x_label);
  const std::string turned = concat(" transform=\"rotate(-90 14 ", number((y0 + y1) / 2), ")\"");
  out += text_at(14, (y0 + y1) / 2, "middle", plot.y_label, turned);

  for (size_t i = 0; i < plot.curves.size(); ++i) {
    const char* color = colors[i % std::size(colors)];
    out += concat("<path d=\"", path_of(plot.curves[i], x, y), "\" fill=\"none\" stroke=\"", color,
                  "\" stroke-width=\"1.5\"/>\n");
    if (plot.curves.size() > 1) {
      const double row = y1 + 14 + 16 * static_cast<double>(i);
      out += segment(x1 - 24, row - 4, x1 - 6, row - 4, color);
      out += text_at(x1 - 30, row, "end", plot.curves[i].name);
    }
  }
  return out;
}

}  // namespace

std::vector<double> round_ticks(double low, double high, int most) {
  TS_CHECK(std::isfinite(low) && std::isfinite(high) && low <= high && most >= 1,
           "round_ticks: range ", low, " to ", high, ", ", most, " ticks");
  // Keep the range wide enough that neighbouring ticks differ in double.
  const double least = std::max({std::abs(low), std::abs(high), 1e-290}) * 1e-12;
  if (high - low < least) {
    const double widen = std::max(std::max(std::abs(low), std::abs(high)) * 0.05, 1e-290);
    low -= widen;
    high += widen;
  }
  const double rough = (high - low) / most;
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  for (const double step : {power, 2 * power, 5 * power, 10 * power, 20 * power}) {
    const double first = std::floor(low / step), last = std::ceil(high / step);
    if (last - first > most) continue;
    std::vector<double> ticks;
    const int count = static_cast<int>(last - first) + 1;
    ticks.reserve(static_cast<size_t>(count));
    for (int i = 0; i < count; ++i) ticks.push_back((first + i) * step);
    return ticks;
  }
  return {low, high};
}

std::string to_svg(std::span<const Plot> plots) {
  const auto width = static_cast<int>(std::max<size_t>(plots.size(), 1)) * panel_width;
  std::string out =
      concat("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"", width, "\" height=\"",
             panel_height, "\" viewBox=\"0 0 ", width, " ", panel_height,
             "\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#333333\">\n"
             "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n");
  for (size_t i = 0; i < plots.size(); ++i)
    out += concat("<g transform=\"translate(", static_cast<int>(i) * panel_width, " 0)\">\n",
                  panel(plots[i]), "</g>\n");
  return out + "</svg>\n";
}

}  // namespace tessera::algorithms
