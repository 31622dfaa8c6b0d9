#include "tessera/algorithms/table.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <limits>

#include "tessera/runtime/error.hpp"

namespace tessera::algorithms {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

std::optional<size_t> find(const std::vector<std::string>& names, std::string_view name) {
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) return std::nullopt;
  return static_cast<size_t>(found - names.begin());
}

std::string fixed(double value, const char* pattern = "%.4f") {
  if (std::isnan(value)) return "-";
  char text[64];
  std::snprintf(text, sizeof text, pattern, value);
  return text;
}

std::string padded(std::string text, size_t width, bool right) {
  text.insert(right ? 0 : text.size(), width > text.size() ? width - text.size() : 0, ' ');
  return text;
}

std::string_view trimmed(std::string_view cell) {
  while (!cell.empty() && cell.front() == ' ') cell.remove_prefix(1);
  while (!cell.empty() && (cell.back() == ' ' || cell.back() == '\r')) cell.remove_suffix(1);
  return cell;
}

/// Cells of a line; what stands in quotes may hold commas, and quotes twice. Nothing where a quote
/// does not close.
std::optional<std::vector<std::string>> cells_of(std::string_view line) {
  std::vector<std::string> cells;
  line = trimmed(line);
  for (;;) {
    std::string cell;
    line = trimmed(line);
    if (line.starts_with('"')) {
      line.remove_prefix(1);
      for (;;) {
        const size_t end = line.find('"');
        if (end == line.npos) return std::nullopt;
        cell += line.substr(0, end);
        line.remove_prefix(end + 1);
        if (!line.starts_with('"')) break;
        cell += '"';
        line.remove_prefix(1);
      }
    }
    const size_t end = line.find(',');
    cell += trimmed(line.substr(0, end));
    cells.push_back(std::move(cell));
    if (end == line.npos) return cells;
    line.remove_prefix(end + 1);
  }
}

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text)
    out += c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : std::string(1, c);
  return out;
}

/// From blue over white to red, for shares in [0, 1].
std::string color_of(double share) {
  constexpr std::array<double, 3> low{59, 111, 182}, middle{245, 245, 245}, high{196, 62, 50};
  const double t = std::clamp(share, 0.0, 1.0);
  const auto& from = t < 0.5 ? low : middle;
  const auto& to = t < 0.5 ? middle : high;
  const double s = t < 0.5 ? 2 * t : 2 * t - 1;
  char text[8];
  std::snprintf(text, sizeof text, "#%02x%02x%02x",
                static_cast<unsigned>(from[0] + s * (to[0] - from[0])),
                static_cast<unsigned>(from[1] + s * (to[1] - from[1])),
                static_cast<unsigned>(from[2] + s * (to[2] - from[2])));
  return text;
}

}  // namespace

std::optional<size_t> Table::row(std::string_view row_name) const { return find(rows, row_name); }
std::optional<size_t> Table::column(std::string_view column_name) const {
  return find(columns, column_name);
}

void Table::add(const std::string& row_name, std::vector<double> row_values) {
  TS_CHECK(row_values.size() == columns.size(), "table ", name, ": row ", row_name, " has ",
           row_values.size(), " values for ", columns.size(), " columns");
  rows.push_back(row_name);
  values.push_back(std::move(row_values));
}

Table parse_csv(std::string_view text, const std::string& file) {
  Table table;
  size_t number = 0;
  const auto fail = [&](const auto&... parts) {
    throw Error(ErrorKind::io, concat(file, ", line ", number, ": ", parts...));
  };
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    ++number;
    const auto found = cells_of(line);
    if (!found) fail("a quote that does not close");
    const std::vector<std::string>& cells = *found;
    if (cells.size() == 1 && cells[0].empty()) continue;
    if (table.corner.empty() && table.columns.empty()) {
      table.corner = cells[0];
      for (size_t c = 1; c < cells.size(); ++c) {
        if (table.column(cells[c])) fail("column '", cells[c], "' comes twice");
        table.columns.emplace_back(cells[c]);
      }
      if (table.columns.empty()) fail("expected names of columns divided by commas");
      continue;
    }
    if (cells.size() != table.columns.size() + 1)
      fail("expected ", table.columns.size() + 1, " cells, found ", cells.size());
    if (table.row(cells[0])) fail("row '", cells[0], "' comes twice");
    std::vector<double> values;
    for (size_t c = 1; c < cells.size(); ++c) {
      const std::string_view cell = cells[c];
      double value = nan;
      if (!cell.empty() && cell != "-" && cell != "nan") {
        const auto [last, error] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
        if (error != std::errc() || last != cell.data() + cell.size())
          fail("column '", table.columns[c - 1], "': '", cell, "' is not a number");
      }
      values.push_back(value);
    }
    table.add(std::string(cells[0]), std::move(values));
  }
  if (table.columns.empty()) throw Error(ErrorKind::io, concat(file, ": an empty table"));
  return table;
}

Table read_csv(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(in), {}};
  if (!in && !in.eof()) throw Error(ErrorKind::io, concat(path, ": cannot be read"));
  return parse_csv(text, path);
}

std::string csv_cell(const std::string& text) {
  if (text.find_first_of(",\"\n") == text.npos) return text;
  std::string out = "\"";
  for (const char c : text) out += c == '"' ? "\"\"" : std::string(1, c);
  return out + "\"";
}

std::string to_csv(const Table& table) {
  std::string out = csv_cell(table.corner);
  for (const std::string& column : table.columns) out += concat(",", csv_cell(column));
  out += '\n';
  for (size_t r = 0; r < table.rows.size(); ++r) {
    out += csv_cell(table.rows[r]);
    for (const double value : table.values[r]) {
      out += ',';
      if (std::isnan(value)) continue;
      char text[32];
      out.append(text, std::to_chars(text, text + sizeof text, value).ptr);
    }
    out += '\n';
  }
  return out;
}

std::string to_text(const Table& table) {
  size_t first = table.corner.size();
  for (const std::string& row : table.rows) first = std::max(first, row.size());
  std::string out = table.name + "\n" + padded(table.corner, first, false);
  std::vector<std::vector<std::string>> cells(table.rows.size());
  std::vector<size_t> width;
  for (size_t c = 0; c < table.columns.size(); ++c) {
    width.push_back(table.columns[c].size());
    for (size_t r = 0; r < table.rows.size(); ++r) {
      cells[r].push_back(fixed(table.values[r][c]));
      width.back() = std::max(width.back(), cells[r].back().size());
    }
    out += concat("  ", padded(table.columns[c], width.back(), true));
  }
  out += '\n';
  for (size_t r = 0; r < table.rows.size(); ++r) {
    out += padded(table.rows[r], first, false);
    for (size_t c = 0; c < width.size(); ++c)
      out += concat("  ", padded(cells[r][c], width[c], true));
    out += '\n';
  }
  return out;
}

std::string heat_map(const Table& table, HeatScale scale) {
  constexpr size_t cell_width = 62, cell_height = 22, top = 64;
  size_t longest = table.corner.size();
  for (const std::string& row : table.rows) longest = std::max(longest, row.size());
  const size_t left = 24 + 7 * longest, width = left + cell_width * table.columns.size() + 16,
               height = top + cell_height * table.rows.size() + 16;
  std::string out = concat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"", width, "\" height=\"", height,
      "\" font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" "
      "fill=\"white\"/>\n");
  const auto text = [&](size_t x, size_t y, std::string_view anchor, std::string_view what,
                        std::string_view more = "") {
    out += concat("<text x=\"", x, "\" y=\"", y, "\" text-anchor=\"", anchor, "\"", more, ">",
                  escaped(what), "</text>\n");
  };
  text(width / 2, 22, "middle", table.name, " font-weight=\"bold\"");
  text(left - 8, top - 8, "end", table.corner);

  const auto range = [&](size_t from, size_t to) {
    std::pair<double, double> found{HUGE_VAL, -HUGE_VAL};
    for (const auto& row : table.values)
      for (size_t c = from; c < to; ++c)
        if (std::isfinite(row[c]))
          found = {std::min(found.first, row[c]), std::max(found.second, row[c])};
    return found;
  };
  const auto whole = range(0, table.columns.size());
  for (size_t c = 0; c < table.columns.size(); ++c) {
    const size_t x = left + c * cell_width;
    text(x + cell_width / 2, top - 8, "middle", table.columns[c]);
    const auto [low, high] = scale == HeatScale::whole ? whole : range(c, c + 1);
    for (size_t r = 0; r < table.rows.size(); ++r) {
      const double value = table.values[r][c];
      const size_t y = top + r * cell_height;
      const double share = high > low ? (value - low) / (high - low) : 0.5;
      out += concat("<rect x=\"", x, "\" y=\"", y, "\" width=\"", cell_width, "\" height=\"",
                    cell_height, "\" fill=\"", std::isfinite(value) ? color_of(share) : "#ffffff",
                    "\" stroke=\"white\"/>\n");
      text(x + cell_width / 2, y + 15, "middle", fixed(value, "%.3f"));
    }
  }
  for (size_t r = 0; r < table.rows.size(); ++r)
    text(left - 8, top + r * cell_height + 15, "end", table.rows[r]);
  return out + "</svg>\n";
}

}  // namespace tessera::algorithms
