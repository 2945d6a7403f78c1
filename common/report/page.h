// Thread safety: pure functions. What the project's pages share: one file of HTML each, which needs
// no other and no network.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace dtrpo::report {

// The whole file; `body` is HTML already.
std::string HtmlPage(const std::string& title, const std::string& body);

// A number with what it is of.
std::string Tile(const std::string& what, const std::string& value);

// An answer with the order in which it was unmasked: later pieces are darker, and a slider takes
// the answer back to each step. `steps` as in evaluation::JudgedAnswer; without pieces just the
// text.
std::string DenoisingView(const std::string& text, const std::vector<std::string>& pieces,
                          const std::vector<int32_t>& steps, bool correct);

// Buttons that show only the elements of `list_id` with one of the classes; the first is pressed.
struct Filter {
  std::string label;
  std::string css_class;  // empty: all
};
std::string FilterButtons(const std::string& list_id, const std::vector<Filter>& filters);

}  // namespace dtrpo::report
