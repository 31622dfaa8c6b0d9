#include "tessera/algorithms/progress.hpp"

#include <gtest/gtest.h>

#include <sstream>

namespace tessera::algorithms {
namespace {

struct FakeClock {
  double now = 100;
  Progress::Clock clock() {
    return [this] { return std::chrono::duration<double>(now); };
  }
};

std::vector<std::string> lines_of(const std::string& text, char separator) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line, separator);) lines.push_back(line);
  return lines;
}

TEST(Progress, WritesPlainLinesAtTenths) {
  FakeClock clock;
  std::ostringstream out;
  Progress progress(out, 0, clock.clock());
  progress.begin("train", 100);
  for (int i = 1; i <= 100; ++i) {
    clock.now += 0.5;
    progress.update(i, "loss 1");
  }
  const auto lines = lines_of(out.str(), '\n');
  ASSERT_EQ(lines.size(), 10u);
  // 9 units in 4.5 s since the first update leave 90 units: 45 s.
  EXPECT_EQ(lines.front(), "train  10/100  loss 1  ETA 45 s");
  EXPECT_EQ(lines.back(), "train  100/100  loss 1");
}

TEST(Progress, PlainLinesAreAtMostOnePerSecond) {
  FakeClock clock;
  std::ostringstream out;
  Progress progress(out, 0, clock.clock());
  progress.begin("train", 100);
  for (int i = 1; i <= 100; ++i) {
    clock.now += 0.025;
    progress.update(i);
  }
  EXPECT_EQ(lines_of(out.str(), '\n').size(), 3u);  // after 1 s, 2 s, and the end at 2.5 s
}

TEST(Progress, EstimatesFromWhereResumedWorkStarts) {
  FakeClock clock;
  std::ostringstream out;
  Progress progress(out, 0, clock.clock());
  progress.begin("train", 100);
  progress.update(80);
  clock.now += 10;
  progress.update(90);
  EXPECT_EQ(out.str(), "train  90/100  ETA 10 s\n");
}

TEST(Progress, DrawsABarThatFitsTheTerminal) {
  for (const int columns : {20, 40, 80, 200}) {
    FakeClock clock;
    std::ostringstream out;
    Progress progress(out, columns, clock.clock());
    progress.begin("train", 10);
    for (int i = 0; i <= 10; ++i) {
      clock.now += 1;
      progress.update(i, "loss 0.25");
    }
    progress.end();
    const auto drawings = lines_of(out.str(), '\r');
    ASSERT_EQ(drawings.size(), 13u);  // before the first, eleven bars, and the erasure
    for (const std::string& drawing : drawings)
      EXPECT_LT(drawing.size(), static_cast<size_t>(columns) + 3)
          << drawing;  // 3: the code that erases
    EXPECT_EQ(drawings.back(), "\x1b[K");
    if (columns == 200) {
      EXPECT_EQ(drawings[6], "\x1b[Ktrain  [" + std::string(20, '=') + ">" + std::string(19, ' ') +
                                 "]  5/10  loss 0.25  ETA 5 s");
    }
  }
}

TEST(Progress, RedrawsAtMostTenTimesASecond) {
  FakeClock clock;
  std::ostringstream out;
  Progress progress(out, 80, clock.clock());
  progress.begin("train", 1000);
  for (int i = 1; i < 1000; ++i) {
    clock.now += 0.001;
    progress.update(i);
  }
  EXPECT_LE(lines_of(out.str(), '\r').size(), 11u);
}

TEST(Progress, SaysNothingOutsideOfWork) {
  std::ostringstream out;
  {
    Progress progress(out, 80);
    progress.update(5);
    progress.end();
  }
  EXPECT_EQ(out.str(), "");
}

TEST(Progress, NothingToDoIsNoDivisionByZero) {
  FakeClock clock;
  std::ostringstream out;
  Progress progress(out, 80, clock.clock());
  progress.begin("empty", 0);
  clock.now += 1;
  progress.update(0);
  EXPECT_NE(out.str().find("0/0"), std::string::npos);
}

TEST(DurationText, ChoosesTheUnit) {
  EXPECT_EQ(duration_text(0.0123), "12 ms");
  EXPECT_EQ(duration_text(12.4), "12 s");
  EXPECT_EQ(duration_text(59.4), "59 s");
  EXPECT_EQ(duration_text(200), "3 min 20 s");
  EXPECT_EQ(duration_text(7500), "2 h 5 min");
}

}  // namespace
}  // namespace tessera::algorithms
