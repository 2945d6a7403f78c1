#include "common/report/line_chart.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

namespace dtrpo::report {
namespace {

using testing::HasSubstr;
using testing::Not;

LineChart OneLine(std::vector<std::pair<double, double>> points) {
  return {"title", "x", {{"line", std::move(points), /*dots=*/false}}, /*ratio=*/false};
}

TEST(LineChartTest, SpansTheWholeOfBothAxes) {
  // The drawing is 640 x 260 with margins of 52, 16, 34 and 40.
  EXPECT_THAT(RenderSvg(OneLine({{0, 10}, {4, 20}})), HasSubstr("d='M52.0 220.0L624.0 34.0'"));
}

TEST(LineChartTest, ARatioIsDrawnFromZeroToOne) {
  LineChart chart = OneLine({{0, 0.5}, {1, 0.5}});
  chart.ratio = true;
  EXPECT_THAT(RenderSvg(chart), HasSubstr("d='M52.0 127.0L624.0 127.0'"));
}

TEST(LineChartTest, NumbersThatArentFiniteAreLeftOut) {
  const std::string svg = RenderSvg(OneLine({{0, 1},
                                             {1, std::numeric_limits<double>::quiet_NaN()},
                                             {2, 2},
                                             {3, std::numeric_limits<double>::infinity()}}));
  EXPECT_THAT(svg, HasSubstr("d='M52.0 220.0L624.0 34.0'"));
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
}

TEST(LineChartTest, NothingAndASinglePointAreDrawnToo) {
  EXPECT_THAT(RenderSvg(OneLine({})), Not(HasSubstr("<path")));
  EXPECT_THAT(RenderSvg(OneLine({{3, 7}})), HasSubstr("d='M52.0 220.0'"));
}

TEST(LineChartTest, ALongCurveIsDrawnAsAFewHundredMeans) {
  std::vector<std::pair<double, double>> points;
  for (int i = 0; i < 60000; ++i) points.emplace_back(i, i % 2);
  const std::string svg = RenderSvg(OneLine(points));
  EXPECT_LT(std::count(svg.begin(), svg.end(), 'L'), 700);
}

}  // namespace
}  // namespace dtrpo::report
