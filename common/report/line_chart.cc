#include "common/report/line_chart.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/report/html_escape.h"

namespace dtrpo::report {
namespace {

constexpr double kWidth = 640, kHeight = 260;
constexpr double kLeft = 52, kRight = 16, kTop = 34, kBottom = 40;
constexpr size_t kMaxPoints = 600;
constexpr int kTicks = 5;  // about so many lines a direction

using Points = std::vector<std::pair<double, double>>;

Points Thinned(const Points& points) {
  Points finite;
  for (const auto& point : points) {
    if (std::isfinite(point.first) && std::isfinite(point.second)) finite.push_back(point);
  }
  if (finite.size() <= kMaxPoints) return finite;
  Points means;
  for (size_t i = 0; i < kMaxPoints; ++i) {
    const size_t begin = i * finite.size() / kMaxPoints;
    const size_t end = (i + 1) * finite.size() / kMaxPoints;
    double x = 0, y = 0;
    for (size_t j = begin; j < end; ++j) {
      x += finite[j].first;
      y += finite[j].second;
    }
    const double count = static_cast<double>(end - begin);
    means.emplace_back(x / count, y / count);
  }
  return means;
}

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();

  void Include(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  // Empty or a single value: something that can be divided by.
  void Widen() {
    if (low > high) low = high = 0;
    if (low == high) high = low + 1;
  }
};

// 1, 2 or 5 times a power of ten.
double TickStep(const Range& range) {
  const double rough = (range.high - range.low) / kTicks;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (rough <= factor * power) return factor * power;
  }
  return 10 * power;
}

class Canvas {
 public:
  Canvas(Range x, Range y) : x_(x), y_(y) {}

  double X(double value) const {
    return kLeft + (value - x_.low) / (x_.high - x_.low) * (kWidth - kLeft - kRight);
  }
  double Y(double value) const {
    return kHeight - kBottom - (value - y_.low) / (y_.high - y_.low) * (kHeight - kTop - kBottom);
  }

  std::string Axes() const {
    std::string svg;
    const double y_step = TickStep(y_);
    for (double v = std::ceil(y_.low / y_step) * y_step; v <= y_.high + y_step / 1e6; v += y_step) {
      absl::StrAppendFormat(&svg,
                            "<line class='grid' x1='%.1f' x2='%.1f' y1='%.1f' y2='%.1f'/>"
                            "<text class='label' x='%.1f' y='%.1f' text-anchor='end'>%g</text>\n",
                            kLeft, kWidth - kRight, Y(v), Y(v), kLeft - 6, Y(v) + 4, Rounded(v));
    }
    const double x_step = TickStep(x_);
    for (double v = std::ceil(x_.low / x_step) * x_step; v <= x_.high + x_step / 1e6; v += x_step) {
      absl::StrAppendFormat(
          &svg, "<text class='label' x='%.1f' y='%.1f' text-anchor='middle'>%g</text>\n", X(v),
          kHeight - kBottom + 16, Rounded(v));
    }
    absl::StrAppendFormat(&svg, "<line class='axis' x1='%.1f' x2='%.1f' y1='%.1f' y2='%.1f'/>\n",
                          kLeft, kWidth - kRight, kHeight - kBottom, kHeight - kBottom);
    return svg;
  }

  std::string Line(const Points& points, size_t number, const Series& series) const {
    std::string path;
    std::string marks;
    const bool labelled = series.labels.size() == points.size();
    for (size_t i = 0; i < points.size(); ++i) {
      const auto& [x, y] = points[i];
      absl::StrAppendFormat(&path, "%s%.1f %.1f", path.empty() ? "M" : "L", X(x), Y(y));
      if (!series.dots) continue;
      const std::string label = labelled ? HtmlEscape(series.labels[i]) : "";
      absl::StrAppendFormat(&marks,
                            "<circle class='series-%d' cx='%.1f' cy='%.1f' r='3.5'>"
                            "<title>%s%s%g: %.4g</title></circle>\n",
                            number, X(x), Y(y), label, labelled ? ", " : "", x, y);
      if (!labelled) continue;
      // Above and below by turns, since neighbours lie close.
      absl::StrAppendFormat(
          &marks, "<text class='label' x='%.1f' y='%.1f' text-anchor='%s'>%s</text>\n", X(x),
          Y(y) + (i % 2 == 0 ? -9 : 18), X(x) > kWidth / 2 ? "end" : "start", label);
    }
    if (path.empty()) return "";
    return absl::StrFormat("<path class='series-%d' d='%s'/>\n%s", number, path, marks);
  }

 private:
  // 0.30000000000000004 is no label, and neither is -0.
  static double Rounded(double value) { return std::round(value * 1e9) / 1e9 + 0.0; }

  const Range x_, y_;
};

}  // namespace

std::string RenderSvg(const LineChart& chart) {
  std::vector<Points> drawn;
  Range x, y;
  if (chart.ratio) {
    y.Include(0);
    y.Include(1);
  }
  for (const Series& series : chart.series) {
    drawn.push_back(Thinned(series.points));
    for (const auto& point : drawn.back()) {
      x.Include(point.first);
      y.Include(point.second);
    }
  }
  x.Widen();
  y.Widen();
  const Canvas canvas(x, y);
  std::string svg = absl::StrFormat(
      "<svg viewBox='0 0 %g %g' role='img' aria-label='%s'>\n"
      "<text class='title' x='%g' y='18'>%s</text>\n",
      kWidth, kHeight, HtmlEscape(chart.title), kLeft, HtmlEscape(chart.title));
  absl::StrAppend(&svg, canvas.Axes());
  double legend_x = kWidth - kRight;
  for (size_t i = chart.series.size(); i-- > 0;) {
    absl::StrAppend(&svg, canvas.Line(drawn[i], i, chart.series[i]));
    if (chart.series.size() < 2) continue;
    absl::StrAppendFormat(&svg,
                          "<text class='legend-%d' x='%.1f' y='18' text-anchor='end'>%s</text>\n",
                          i, legend_x, HtmlEscape(chart.series[i].name));
    legend_x -= 14 + 7.5 * static_cast<double>(chart.series[i].name.size());
  }
  absl::StrAppendFormat(&svg,
                        "<text class='label' x='%.1f' y='%.1f' text-anchor='end'>%s</text>\n</svg>",
                        kWidth - kRight, kHeight - 6, HtmlEscape(chart.x_label));
  return svg;
}

}  // namespace dtrpo::report
