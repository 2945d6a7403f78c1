#include "common/report/page.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/report/html_escape.h"

namespace dtrpo::report {
namespace {

constexpr char kStyle[] = R"(
:root { color-scheme: light dark; --ink: #1d2433; --soft: #667085; --line: #d9dee7; --card: #fff;
  --page: #f4f6f9; --s0: #1f6feb; --s1: #d9730d; --good: #18794e; --bad: #c62a2f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --soft: #98a2b3; --line: #333b49;
  --card: #191e27; --page: #11151c; --s0: #6aa8ff; --s1: #f0a050; --good: #4cc38a; --bad: #ff7b7b; } }
body { margin: 0 auto; padding: 2rem 1rem 4rem; max-width: 76rem; background: var(--page);
  color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .6rem; }
p { color: var(--soft); margin: .2rem 0 1.2rem; }
.tiles, .charts { display: grid; gap: 1rem; }
.tiles { grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); margin-bottom: 1rem; }
.charts { grid-template-columns: repeat(auto-fit, minmax(min(30rem, 100%), 1fr)); }
.tile, .chart, .box { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: .9rem 1rem; overflow-x: auto; }
.tile b { display: block; font-size: 1.5rem; font-weight: 600; } .tile span { color: var(--soft); }
svg { width: 100%; height: auto; font: 12px system-ui, sans-serif; }
.title { font-weight: 600; font-size: 14px; fill: var(--ink); } .label { fill: var(--soft); }
.grid { stroke: var(--line); } .axis { stroke: var(--soft); }
path { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
path.series-0 { stroke: var(--s0); } path.series-1 { stroke: var(--s1); }
circle.series-0, .legend-0 { fill: var(--s0); } circle.series-1, .legend-1 { fill: var(--s1); }
table { border-collapse: collapse; width: 100%; } th { text-align: left; color: var(--soft); }
th, td { padding: .45rem .8rem .45rem 0; border-top: 1px solid var(--line); vertical-align: top; }
tr:first-child th { border-top: 0; }
code, pre { font: 13px/1.6 ui-monospace, monospace; } code { white-space: pre-wrap; }
.right { color: var(--good); } .wrong { color: var(--bad); } .steps { color: var(--soft); }
.two { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr)); }
.list > details { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  margin: .5rem 0; padding: .5rem 1rem; } summary { cursor: pointer; }
.filters { display: flex; flex-wrap: wrap; gap: .5rem; margin: .5rem 0; }
.filters button { border: 1px solid var(--line); border-radius: 999px; padding: .2rem .9rem;
  background: var(--card); color: var(--ink); font: inherit; cursor: pointer; }
.filters button[aria-pressed=true] { border-color: var(--s0); color: var(--s0); }
.denoising label { color: var(--soft); display: block; margin-top: .4rem; }
.piece { color: var(--ink); border-bottom: 3px solid;
  border-color: color-mix(in srgb, var(--s0) calc(var(--order) * 100%), var(--line)); }
.piece.masked { color: transparent; background: var(--line); border-radius: 3px; }
)";

// Without it the pages are whole, too: every answer is shown, with its order as shades.
constexpr char kScript[] = R"(
for (const view of document.querySelectorAll('.denoising')) {
  const slider = view.querySelector('input'), shown = view.querySelector('output');
  if (!slider) continue;
  slider.addEventListener('input', () => {
    shown.value = slider.value;
    for (const piece of view.querySelectorAll('.piece'))
      piece.classList.toggle('masked', Number(piece.dataset.step) > Number(slider.value));
  });
}
for (const buttons of document.querySelectorAll('.filters')) {
  const list = document.getElementById(buttons.dataset.list);
  buttons.addEventListener('click', event => {
    const pressed = event.target.closest('button');
    if (!pressed) return;
    for (const button of buttons.querySelectorAll('button'))
      button.setAttribute('aria-pressed', button === pressed);
    for (const item of list.children)
      item.hidden = pressed.dataset.show !== '' && !item.classList.contains(pressed.dataset.show);
  });
}
)";

}  // namespace

std::string HtmlPage(const std::string& title, const std::string& body) {
  return absl::StrCat(
      "<!doctype html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>\n"
      "<meta name='viewport' content='width=device-width, initial-scale=1'>\n<title>",
      HtmlEscape(title), "</title>\n<style>", kStyle, "</style>\n</head>\n<body>\n", body,
      "<script>", kScript, "</script>\n</body>\n</html>\n");
}

std::string Tile(const std::string& what, const std::string& value) {
  return absl::StrCat("<div class='tile'><b>", HtmlEscape(value), "</b><span>", HtmlEscape(what),
                      "</span></div>\n");
}

std::string DenoisingView(const std::string& text, const std::vector<std::string>& pieces,
                          const std::vector<int32_t>& steps, bool correct) {
  const char* const verdict = correct ? "right" : "wrong";
  if (pieces.empty() || pieces.size() != steps.size()) {
    return absl::StrCat("<div class='denoising'><code class='", verdict, "'>", HtmlEscape(text),
                        "</code></div>");
  }
  const int32_t last = std::max(1, *std::max_element(steps.begin(), steps.end()));
  std::string html = absl::StrCat("<div class='denoising'><code class='", verdict, "'>");
  for (size_t i = 0; i < pieces.size(); ++i) {
    absl::StrAppendFormat(&html, "<span class='piece' data-step='%d' style='--order:%.2f'>",
                          steps[i], static_cast<double>(steps[i]) / last);
    absl::StrAppend(&html, HtmlEscape(pieces[i]), "</span>");
  }
  return absl::StrCat(html, "</code><label>step <input type='range' min='0' max='", last,
                      "' value='", last, "'> <output>", last, "</output> of ", last,
                      "</label></div>");
}

std::string FilterButtons(const std::string& list_id, const std::vector<Filter>& filters) {
  std::string html = absl::StrCat("<div class='filters' data-list='", HtmlEscape(list_id), "'>");
  for (size_t i = 0; i < filters.size(); ++i) {
    absl::StrAppend(&html, "<button data-show='", HtmlEscape(filters[i].css_class),
                    "' aria-pressed='", i == 0 ? "true" : "false", "'>",
                    HtmlEscape(filters[i].label), "</button>");
  }
  return absl::StrCat(html, "</div>\n");
}

}  // namespace dtrpo::report
