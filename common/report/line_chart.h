// Thread safety: a pure function. A line chart as inline SVG, coloured by the page's CSS (classes
// axis, grid, label, series-0, series-1, ...).
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace dtrpo::report {

struct Series {
  std::string name;
  std::vector<std::pair<double, double>> points;  // in order of x; not finite ones are left out
  bool dots = false;                              // mark each point, for few of them
  std::vector<std::string> labels = {};           // with dots: of each point; or empty
};

struct LineChart {
  std::string title;
  std::string x_label;
  std::vector<Series> series;
  bool ratio = false;  // the y axis is 0 to 1
};

// At most 600 points of a series are drawn, as means of equal stretches: a page of a long job stays
// small and its noise readable.
std::string RenderSvg(const LineChart& chart);

}  // namespace dtrpo::report
