#include "tessera/algorithms/progress.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <ostream>

#include "tessera/runtime/error.hpp"

namespace tessera::algorithms {
namespace {

constexpr double seconds_between_bars = 0.1;
constexpr double seconds_between_lines = 1.0;

std::chrono::duration<double> steady_now() {
  return std::chrono::steady_clock::now().time_since_epoch();
}

}  // namespace

Progress::Progress(std::ostream& out, int columns, Clock clock)
    : out_(out), columns_(columns), clock_(clock ? std::move(clock) : steady_now) {}

Progress::~Progress() { end(); }

void Progress::begin(const std::string& label, int64_t total) {
  end();
  label_ = prefix_ + label;
  total_ = total;
  done_ = tenth_ = 0;
  first_done_ = -1;
  began_ = drawn_ = clock_().count();
  active_ = true;
}

void Progress::update(int64_t done, std::string_view note) {
  if (!active_) return;
  const double now = clock_().count();
  if (first_done_ < 0) {
    first_done_ = done;
    began_ = now;
  }
  done_ = done;
  if (columns_ > 0) {
    if (now - drawn_ >= seconds_between_bars || done == total_) draw(note, now);
    return;
  }
  const int64_t tenth = total_ > 0 ? 10 * done / total_ : 0;
  if (tenth > tenth_ && (now - drawn_ >= seconds_between_lines || done == total_)) {
    tenth_ = tenth;
    draw(note, now);
  }
}

void Progress::draw(std::string_view note, double now) {
  drawn_ = now;
  const std::string count = concat(done_, "/", total_);
  std::string tail = note.empty() ? "" : concat("  ", note);
  if (done_ > first_done_ && done_ < total_) {
    const double left = (now - began_) / static_cast<double>(done_ - first_done_) *
                        static_cast<double>(total_ - done_);
    tail += concat("  ETA ", duration_text(left));
  }
  if (columns_ == 0) {
    out_ << label_ << "  " << count << tail << "\n" << std::flush;
    return;
  }
  const int room = columns_ - 1 - static_cast<int>(label_.size() + count.size() + tail.size()) - 6;
  const int width = std::clamp(room, 0, 40);
  std::string line = label_;
  if (width >= 4) {
    const auto filled = static_cast<int>(total_ > 0 ? width * done_ / total_ : 0);
    std::string bar(static_cast<size_t>(width), ' ');
    std::fill_n(bar.begin(), filled, '=');
    if (filled < width) bar[static_cast<size_t>(filled)] = '>';
    line += concat("  [", bar, "]");
  }
  line += concat("  ", count, tail);
  if (line.size() > static_cast<size_t>(columns_ - 1))
    line.resize(static_cast<size_t>(columns_ - 1));
  out_ << "\r\x1b[K" << line << std::flush;
}

void Progress::end() {
  if (active_ && columns_ > 0)
    out_ << "\r\x1b[K" << std::flush;  // the result table takes its place
  active_ = false;
}

int terminal_columns() {
  const char* terminal = std::getenv("TERM");
  if (!isatty(STDERR_FILENO) || !terminal || std::string_view(terminal) == "dumb") return 0;
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

std::string duration_text(double seconds) {
  if (seconds < 1) return concat(std::lround(seconds * 1000), " ms");
  const long whole = std::lround(seconds);
  if (whole < 60) return concat(whole, " s");
  if (whole < 3600) return concat(whole / 60, " min ", whole % 60, " s");
  return concat(whole / 3600, " h ", whole % 3600 / 60, " min");
}

}  // namespace tessera::algorithms
