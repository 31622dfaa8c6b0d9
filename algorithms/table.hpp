#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// Tables of numbers with names, in results, CSV files and pictures.
namespace tessera::algorithms {

/// values[r][c] belongs to rows[r] and columns[c]; NaN: no number.
struct Table {
  std::string name;    // of its file, without ending; a heading for people
  std::string corner;  // what rows are
  std::vector<std::string> rows, columns;
  std::vector<std::vector<double>> values;

  std::optional<size_t> row(std::string_view row_name) const;
  std::optional<size_t> column(std::string_view column_name) const;
  /// Appends a row; throws unless it has a value for every column.
  void add(const std::string& row_name, std::vector<double> row_values);
};

/// Reads lines of cells divided by commas, the first line with the names of columns and the first
/// cell of each line with the row's. Empty cells, "nan" and "-" are NaN. Throws an `io` Error
/// naming `file`, line and column where a cell is no number, a line has another number of cells,
/// or a name comes twice. Names may stand in quotes, as RFC 4180 has it, within a line.
Table parse_csv(std::string_view text, const std::string& file);
/// The same of a file.
Table read_csv(const std::string& path);
/// The reverse: NaN becomes an empty cell, numbers have the fewest digits that read back the same.
std::string to_csv(const Table& table);

/// A cell of a CSV file: in quotes where a comma, a quote or the end of a line is in it (RFC 4180).
std::string csv_cell(const std::string& text);

/// Columns aligned, four decimals, "-" for NaN.
std::string to_text(const Table& table);

/// Where colours come from: one range for all, or one for every column.
enum class HeatScale { whole, columns };
/// The table as an SVG picture of coloured cells with their numbers; blue is low, red is high.
std::string heat_map(const Table& table, HeatScale scale);

}  // namespace tessera::algorithms
