// Detectors without training, band selection, and how scores are judged.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tessera/algorithms/bigset/detectors.hpp"
#include "tessera/algorithms/bigset/evaluation.hpp"
#include "tessera/tests/algorithms/bigset_scene.hpp"
#include "tessera/tests/support/files.hpp"

namespace tessera::algorithms::bigset {
namespace {

using Doubles = std::vector<double>;

// ---- evaluation

TEST(Evaluate, AgreesWithItsDefinitions) {
  Rng rng(7);
  Doubles scores;
  std::vector<uint8_t> truth, valid;
  for (int i = 0; i < 200; ++i) {
    truth.push_back(rng.uniform() < 0.1);
    valid.push_back(rng.uniform() < 0.9);
    scores.push_back(static_cast<double>(rng.below(40)) + 10.0 * truth.back());  // with ties
  }
  scores[0] = valid[0] ? scores[0] : NAN;
  double pairs = 0, wins = 0, anomalies = 0, background = 0, low = 1e9, high = -1e9;
  for (size_t i = 0; i < 200; ++i) {
    if (!valid[i]) continue;
    (truth[i] ? anomalies : background) += 1;
    low = std::min(low, scores[i]), high = std::max(high, scores[i]);
    for (size_t j = 0; j < 200; ++j)
      if (valid[j] && truth[i] && !truth[j]) {
        ++pairs;
        wins += scores[i] > scores[j] ? 1 : scores[i] == scores[j] ? 0.5 : 0;
      }
  }
  const Evaluation e = evaluate(scores, truth, valid);
  EXPECT_NEAR(e.auc, wins / pairs, 1e-12);
  double pd = 0, pf = 0, precision = 0;
  for (size_t i = 0; i < 200; ++i)
    if (valid[i]) (truth[i] ? pd : pf) += (scores[i] - low) / (high - low);
  EXPECT_NEAR(e.auc_pd_tau, pd / anomalies, 1e-12);
  EXPECT_NEAR(e.auc_pf_tau, pf / background, 1e-12);
  EXPECT_NEAR(e.auc_odp, e.auc + e.auc_pd_tau - e.auc_pf_tau, 1e-12);
  for (int score = 60; score >= 0; --score) {  // every distinct one
    const double threshold = score;
    double hits = 0, all = 0, here = 0;
    for (size_t i = 0; i < 200; ++i) {
      if (!valid[i]) continue;
      if (scores[i] >= threshold) ++all, hits += truth[i];
      here += scores[i] == threshold && truth[i];
    }
    if (here > 0) precision += here / anomalies * hits / all;
  }
  EXPECT_NEAR(e.average_precision, precision, 1e-12);
  // the area under the curve's points
  const Roc roc = roc_curve(scores, truth, valid);
  double area = 0;
  for (size_t i = 1; i < roc.pf.size(); ++i)
    area += (roc.pf[i] - roc.pf[i - 1]) * (roc.pd[i] + roc.pd[i - 1]) / 2;
  EXPECT_NEAR(area, e.auc, 1e-12);
  EXPECT_THROW(evaluate(scores, std::vector<uint8_t>(200, 0), valid), Error);
  EXPECT_THROW(evaluate(scores, std::vector<uint8_t>(200, 1), valid), Error);
  EXPECT_THROW(evaluate(Doubles(200, NAN), truth, valid), Error);
  EXPECT_THROW(evaluate(Doubles(3), truth, valid), Error);
}

TEST(Evaluate, DetectionAtFixedFalseAlarms) {
  // 10 anomalies above, one among 1000 background pixels of rising scores
  Doubles scores;
  std::vector<uint8_t> truth;
  for (int i = 0; i < 1000; ++i) scores.push_back(i), truth.push_back(0);
  for (int i = 0; i < 9; ++i) scores.push_back(2000 + i), truth.push_back(1);
  scores.push_back(500.5), truth.push_back(1);
  const Evaluation e = evaluate(scores, truth, std::vector<uint8_t>(1010, 1));
  EXPECT_NEAR(e.pd_at_1e3, 0.9, 1e-12);
  EXPECT_NEAR(e.pd_at_1e2, 0.9, 1e-12);
  EXPECT_NEAR(e.auc, 0.9 + 0.1 * 501.0 / 1000, 1e-12);
}

TEST(Evaluate, Proportions) {
  Doubles scores;
  for (int i = 0; i < 990; ++i) scores.push_back(1 + 0.01 * (i % 10));
  for (int i = 0; i < 10; ++i) scores.push_back(50 + i);
  for (const char* rule : {"log_mad", "mean_3std", "mad_6", "mad_10", "otsu"}) {
    ProportionRule parsed;
    parse(rule, parsed);
    EXPECT_NEAR(proportion(scores, parsed), 0.01, 1e-12) << rule;
  }
  EXPECT_EQ(otsu_threshold(Doubles(5, 2.0)), 2.0);
}

// ---- detectors

/// x = a^-1 b by Gauss and Jordan.
Doubles solved(std::vector<Doubles> a, Doubles b) {
  const size_t n = b.size();
  for (size_t k = 0; k < n; ++k) {
    size_t pivot = k;
    for (size_t i = k; i < n; ++i)
      if (std::abs(a[i][k]) > std::abs(a[pivot][k])) pivot = i;
    std::swap(a[k], a[pivot]), std::swap(b[k], b[pivot]);
    for (size_t i = 0; i < n; ++i) {
      if (i == k) continue;
      const double f = a[i][k] / a[k][k];
      for (size_t j = k; j < n; ++j) a[i][j] -= f * a[k][j];
      b[i] -= f * b[k];
    }
  }
  for (size_t k = 0; k < n; ++k) b[k] /= a[k][k];
  return b;
}

std::vector<Doubles> spectra_of(const Scene& s) {
  const Doubles all = test::to_doubles(s.spectra);
  const auto bands = static_cast<size_t>(s.spectra.size(1));
  std::vector<Doubles> rows;
  rows.reserve(s.valid.size());
  for (size_t p = 0; p < s.valid.size(); ++p)
    rows.emplace_back(all.begin() + static_cast<std::ptrdiff_t>(p * bands),
                      all.begin() + static_cast<std::ptrdiff_t>((p + 1) * bands));
  return rows;
}

/// Mahalanobis distance of x to the rows, S + shrinkage * trace / bands.
double distance_to(const Doubles& x, const std::vector<Doubles>& rows, double shrinkage) {
  const size_t bands = x.size();
  Doubles mean(bands), d(bands);
  for (const Doubles& r : rows)
    for (size_t b = 0; b < bands; ++b) mean[b] += r[b] / static_cast<double>(rows.size());
  std::vector<Doubles> s(bands, Doubles(bands));
  double trace = 0;
  for (const Doubles& r : rows)
    for (size_t a = 0; a < bands; ++a)
      for (size_t b = 0; b < bands; ++b)
        s[a][b] += (r[a] - mean[a]) * (r[b] - mean[b]) / static_cast<double>(rows.size() - 1);
  for (size_t b = 0; b < bands; ++b) trace += s[b][b];
  for (size_t b = 0; b < bands; ++b) {
    s[b][b] += shrinkage * trace / static_cast<double>(bands);
    d[b] = x[b] - mean[b];
  }
  const Doubles y = solved(s, d);
  return std::inner_product(y.begin(), y.end(), d.begin(), 0.0);
}

std::vector<int64_t> naive_ring(const Scene& s, const Windows& w, int64_t p) {
  std::vector<int64_t> near;
  for (int64_t dr = -(w.outer / 2); dr <= w.outer / 2; ++dr)
    for (int64_t dc = -(w.outer / 2); dc <= w.outer / 2; ++dc) {
      if (std::max(std::abs(dr), std::abs(dc)) <= w.inner / 2) continue;
      const int64_t q = reflected(p / s.columns + dr, s.rows) * s.columns +
                        reflected(p % s.columns + dc, s.columns);
      if (s.valid[static_cast<size_t>(q)]) near.push_back(q);
    }
  return near;
}

TEST(Detectors, GlobalRxIsTheMahalanobisDistance) {
  const Scene scene = random_scene(9, 8, 5, 11, 6);
  const auto rows = spectra_of(scene);
  std::vector<Doubles> valid;
  for (size_t p = 0; p < rows.size(); ++p)
    if (scene.valid[p]) valid.push_back(rows[p]);
  const Doubles scores = global_rx(scene);
  for (size_t p = 0; p < rows.size(); ++p) {
    if (scene.valid[p]) {
      EXPECT_NEAR(scores[p], distance_to(rows[p], valid, 0), 1e-9) << p;
    } else {
      EXPECT_TRUE(std::isnan(scores[p]));
    }
  }
  // a copy of a band leaves the covariance without a factor
  Scene copied = with_bands(scene, std::vector<int64_t>{0, 1, 2, 3, 4, 2});
  const Doubles again = global_rx(copied);
  for (size_t p = 0; p < rows.size(); ++p)
    if (scene.valid[p]) {
      EXPECT_NEAR(again[p], scores[p], 1e-3 * scores[p]);
    }
}

TEST(Detectors, LocalRxIsTheDistanceToTheRing) {
  const Scene scene = random_scene(10, 9, 4, 12, 5);
  const auto rows = spectra_of(scene);
  const Windows windows{3, 7};
  const Doubles scores = local_rx(scene, windows, 0.05);
  for (size_t p = 0; p < rows.size(); ++p) {
    if (!scene.valid[p]) continue;
    std::vector<Doubles> near;
    for (const int64_t q : naive_ring(scene, windows, static_cast<int64_t>(p)))
      near.push_back(rows[static_cast<size_t>(q)]);
    const double wanted = distance_to(rows[p], near, 0.05);
    EXPECT_NEAR(scores[p], wanted, 1e-8 * wanted) << p;
  }
}

TEST(Detectors, CollaborativeIsTheRingsBestFit) {
  const Scene scene = random_scene(8, 9, 6, 13);
  const auto rows = spectra_of(scene);
  const Windows windows{1, 5};
  const Doubles scores = collaborative(scene, windows, 0.01, 1e-6);
  for (size_t p = 0; p < rows.size(); ++p) {
    const auto near = naive_ring(scene, windows, static_cast<int64_t>(p));
    const size_t s = near.size();
    std::vector<Doubles> system(s, Doubles(s));
    Doubles side(s);
    const auto dot = [](const Doubles& a, const Doubles& b) {
      return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
    };
    double trace = 0;
    for (size_t i = 0; i < s; ++i) {
      const Doubles& a = rows[static_cast<size_t>(near[i])];
      side[i] = dot(a, rows[p]);
      trace += dot(a, a);
      for (size_t j = 0; j < s; ++j) system[i][j] = dot(a, rows[static_cast<size_t>(near[j])]);
    }
    for (size_t i = 0; i < s; ++i) {
      double apart = 0;
      for (size_t b = 0; b < 6; ++b)
        apart += std::pow(rows[p][b] - rows[static_cast<size_t>(near[i])][b], 2);
      system[i][i] += 0.01 * apart + 1e-6 * trace / static_cast<double>(s);
    }
    const Doubles w = solved(system, side);
    double squares = 0;
    for (size_t b = 0; b < 6; ++b) {
      double r = rows[p][b];
      for (size_t i = 0; i < s; ++i) r -= w[i] * rows[static_cast<size_t>(near[i])][b];
      squares += r * r;
    }
    EXPECT_NEAR(scores[p], std::sqrt(squares), 1e-6) << p;
  }
}

// A lake of one spectrum, or of none, wider than the window: its inside is like its ring.
TEST(Detectors, AreasOfOneSpectrum) {
  for (const double level : {0.0, 0.1, 0.7, 3.3}) {
    Scene scene = random_scene(14, 15, 6, 21);
    const auto values = scene.spectra.host_mutable<double>();
    for (size_t p = 0; p < 150; ++p)  // ten rows
      for (size_t b = 0; b < 6; ++b) values[p * 6 + b] = level * (1 + 0.1 * static_cast<double>(b));
    const Windows windows{3, 7};
    for (const Doubles& scores : {local_rx(scene, windows), collaborative(scene, windows)}) {
      double usual = 0;
      for (size_t p = 195; p < 210; ++p) usual += scores[p] / 15;  // far from the lake
      for (size_t p = 0; p < 210; ++p) ASSERT_TRUE(std::isfinite(scores[p])) << level << " " << p;
      for (size_t p = 0; p < 105; ++p) EXPECT_LT(scores[p], 0.05 * usual) << level << " " << p;
    }
  }
}

TEST(Detectors, RefuseWhatDoesNotFit) {
  const Scene scene = random_scene(6, 6, 3, 14);
  EXPECT_THROW(local_rx(scene, {3, 13}), Error);
  EXPECT_THROW(collaborative(scene, {3, 1'000'001}), Error);  // before it makes a table for that
  EXPECT_THROW(local_rx(scene, {4, 7}), Error);
  EXPECT_THROW(local_rx(scene, {5, 5}), Error);
  EXPECT_THROW(local_rx(scene, {3, 5}, 0), Error);
  Scene one = scene;
  one.valid.assign(36, 0);
  one.valid[3] = 1;
  EXPECT_THROW(global_rx(one), Error);
}

// ---- bands

TEST(Bands, SelectionIsGramSchmidt) {
  const Scene scene = random_scene(8, 8, 9, 15);
  const auto rows = spectra_of(scene);
  // the columns themselves, projected one after another
  std::vector<Doubles> y(9, Doubles(64));
  Doubles length(9);
  size_t last = 0;
  double most = -1;
  for (size_t b = 0; b < 9; ++b) {
    double mean = 0, variance = 0;
    for (size_t p = 0; p < 64; ++p) mean += (y[b][p] = rows[p][b]) / 64;
    for (size_t p = 0; p < 64; ++p) variance += (rows[p][b] - mean) * (rows[p][b] - mean);
    if (variance > most) most = variance, last = b;
  }
  std::vector<int64_t> wanted{static_cast<int64_t>(last)};
  std::vector<uint8_t> taken(9);
  while (wanted.size() < 5) {
    taken[last] = 1;
    const double h = std::inner_product(y[last].begin(), y[last].end(), y[last].begin(), 0.0);
    size_t next = 9;
    for (size_t t = 0; t < 9; ++t) {
      if (taken[t]) continue;
      const double f =
          std::inner_product(y[last].begin(), y[last].end(), y[t].begin(), 0.0) / (h + 1e-9);
      for (size_t p = 0; p < 64; ++p) y[t][p] -= f * y[last][p];
      length[t] = std::inner_product(y[t].begin(), y[t].end(), y[t].begin(), 0.0);
      if (next == 9 || length[t] > length[next]) next = t;
    }
    wanted.push_back(static_cast<int64_t>(last = next));
  }
  std::sort(wanted.begin(), wanted.end());
  EXPECT_EQ(select_bands(scene, 5), wanted);
  EXPECT_EQ(select_bands(scene, 9).size(), 9u);
  EXPECT_THROW(select_bands(scene, 10), Error);
}

TEST(Bands, NormalisationsOfValidPixels) {
  const Scene scene = random_scene(6, 5, 3, 16, 4);
  const auto each = [&](const Scene& s, auto&& body) {
    const auto rows = spectra_of(s);
    for (size_t b = 0; b < 3; ++b) {
      Doubles column;
      for (size_t p = 0; p < rows.size(); ++p)
        if (s.valid[p]) column.push_back(rows[p][b]);
      body(column);
    }
  };
  each(normalised(scene, Normalisation::zscore_band), [](const Doubles& c) {
    const auto n = static_cast<double>(c.size());
    const double mean = std::accumulate(c.begin(), c.end(), 0.0) / n;
    EXPECT_NEAR(mean, 0, 1e-12);
    EXPECT_NEAR(std::inner_product(c.begin(), c.end(), c.begin(), 0.0) / n, 1, 1e-12);
  });
  each(normalised(scene, Normalisation::minmax_band), [](const Doubles& c) {
    EXPECT_EQ(*std::min_element(c.begin(), c.end()), 0);
    EXPECT_EQ(*std::max_element(c.begin(), c.end()), 1);
  });
  EXPECT_EQ(test::to_doubles(normalised(scene, Normalisation::none).spectra),
            test::to_doubles(scene.spectra));
}

// ---- real scenes

// AUC of (Pd, Pf), (Pd, tau), (Pf, tau), measured by an independent program.
TEST(RealScenes, GlobalRx) {
  struct Row {
    const char* file;
    double auc, pd_tau, pf_tau;
  };
  const Row table[] = {{"ad/abu-airport-1.mat", .8221, .0980, .0423},
                       {"ad/abu-airport-2.mat", .8404, .1827, .0515},
                       {"ad/abu-airport-4.mat", .9526, .0727, .0247},
                       {"ad/abu-beach-1.mat", .9807, .2435, .0065},
                       {"ad/abu-beach-2.mat", .9106, .1523, .0488},
                       {"ad/abu-beach-3.mat", .9998, .4937, .0259},
                       {"ad/abu-beach-4.mat", .9887, .1472, .0258},
                       {"ad/abu-urban-1.mat", .9907, .3113, .0555},
                       {"ad/abu-urban-2.mat", .9946, .1147, .0135},
                       {"ad/abu-urban-4.mat", .9887, .0874, .0114},
                       {"ad/abu-urban-5.mat", .9692, .1456, .0437},
                       {"ad/hydice_80x100x162.mat", .9932, .2225, .0345},
                       {"ad/sandiego_58.mat", .8885, .0685, .0381},
                       {"ad/pavia_71.mat", .9934, .1537, .0258},
                       {"envi/LHData", .9910, .4556, .0797},
                       {"envi/SDData.hdr", .9106, .0683, .0296}};
  if (test::shared_data("hsi").empty()) GTEST_SKIP() << "the hyperspectral scenes are not here";
  for (const Row& row : table) {
    const models::Cube cube = models::load_cube(test::shared_data(concat("hsi/", row.file)));
    const Scene scene = make_scene(cube, false);
    const Evaluation e = evaluate(global_rx(scene), scene.truth, scene.valid);
    EXPECT_NEAR(e.auc, row.auc, 5.1e-5) << row.file;
    EXPECT_NEAR(e.auc_pd_tau, row.pd_tau, 5.1e-5) << row.file;
    EXPECT_NEAR(e.auc_pf_tau, row.pf_tau, 5.1e-5) << row.file;
  }
}

}  // namespace
}  // namespace tessera::algorithms::bigset
