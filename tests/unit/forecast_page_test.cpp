// Pictures of forecasts.
#include "subquad/study/forecast_page.h"

#include <gtest/gtest.h>

#include <cmath>

namespace subquad {
namespace {

ForecastPicture picture(std::vector<double> history) {
  ForecastPicture p{.id = "<shop> & co",
                    .model = "Naive",
                    .history = std::move(history),
                    .stamps = {},
                    .levels = {0.1, 0.25, 0.5, 0.75, 0.9},
                    .mean = {2, 2},
                    .quantiles = {}};
  for (const double d : {-2.0, -1.0, 0.0, 1.0, 2.0}) p.quantiles.push_back({2 + d, 2 + 1.5 * d});
  for (std::size_t i = 0; i < p.history.size() + 2; ++i)
    p.stamps.push_back("t" + std::to_string(i));
  return p;
}

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t n = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

TEST(ForecastPage, TheLargestNumbersAreDrawn) {
  EXPECT_EQ(sparkline({-1.7e308, 1.7e308}), "▁█");
  ForecastPicture p = picture({1.7e308, -1.7e308});
  p.actual = {1e308, -1e308};
  p.marked = {1};
  const std::string svg = forecast_chart(p);
  EXPECT_EQ(count(svg, "nan") + count(svg, "inf"), 0u) << svg;
  EXPECT_EQ(count(svg, "<circle"), 1u);
}

TEST(ForecastPage, HistoryMedianAndOneBandAPairOfLevels) {
  const std::string svg = forecast_chart(picture({1, 2, std::nan(""), 3, 2, 1}));
  EXPECT_EQ(count(svg, "<polygon"), 2u) << "10 to 90 % and 25 to 75 %";
  EXPECT_EQ(count(svg, "<polyline"), 3u) << "the gap interrupts the history";
  EXPECT_EQ(count(svg, "nan"), 0u);
  EXPECT_NE(svg.find("&lt;shop&gt; &amp; co"), std::string::npos);
  EXPECT_NE(svg.find(">t0<"), std::string::npos);
  EXPECT_NE(svg.find(">t7<"), std::string::npos);
  const std::string page = forecast_page("Title", {picture({1, 2}), picture({3})}, {"a note"});
  EXPECT_EQ(count(page, "<svg"), 2u);
  EXPECT_NE(page.find("central 80 %, 50 %"), std::string::npos);
  EXPECT_NE(page.find("a note"), std::string::npos);
  EXPECT_TRUE(forecast_svg(picture({1, 2})).starts_with("<svg xmlns='http://www.w3.org/2000/svg'"));
}

TEST(ForecastPage, LargeNumbersThatHardlyDifferAreDrawn) {
  ForecastPicture p = picture({1e16, 1e16 + 2, 1e16});
  p.mean = {1e16, 1e16};
  for (auto& q : p.quantiles) q = p.mean;
  EXPECT_LT(forecast_chart(p).size(), 20000u) << "ticks in steps below the spacing of doubles";
}

TEST(ForecastPage, Sparkline) {
  EXPECT_EQ(sparkline({0, 1, std::nan(""), 7}), "▁▂ █");
  EXPECT_EQ(sparkline({5, 5}), "▅▅");
  EXPECT_EQ(sparkline({}), "");
}

}  // namespace
}  // namespace subquad
