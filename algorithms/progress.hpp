#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <iosfwd>
#include <string>
#include <string_view>

namespace tessera::algorithms {

/// Tells a person how far the work is: a bar that redraws itself on a terminal, a plain line now
/// and then elsewhere. Calls are cheap; drawing happens at most ten times a second.
///
///     node_classification  [=========>          ]  92/200  run 46  ETA 12 s
class Progress {
 public:
  using Clock = std::function<std::chrono::duration<double>()>;

  /// Writes to `out`. `columns` is the width of the terminal; 0 means that `out` is none.
  Progress(std::ostream& out, int columns, Clock clock = {});
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void begin(const std::string& label, int64_t total);
  /// Stands before the labels of what begins from now on.
  void prefix(std::string text) { prefix_ = std::move(text); }
  /// `done` units are finished; `note` is what else to say, e.g. the loss. Resumed work starts
  /// above 0: the estimate counts from the first call.
  void update(int64_t done, std::string_view note = {});
  void end();

 private:
  void draw(std::string_view note, double now);

  std::ostream& out_;
  int columns_;
  Clock clock_;
  std::string prefix_, label_;
  int64_t total_ = 0, done_ = 0, first_done_ = -1;
  double began_ = 0, drawn_ = 0;
  int64_t tenth_ = 0;  // plain lines: the last tenth that was told
  bool active_ = false;
};

/// Width of the terminal behind standard error; 0 where it is a file, a pipe, or a dumb terminal.
int terminal_columns();

/// "850 ms", "12 s", "3 min 20 s", "2 h 5 min"
std::string duration_text(double seconds);

}  // namespace tessera::algorithms
