// Pictures of forecasts: history, median, central bands, and what came if it is known.
#pragma once

#include <string>
#include <vector>

namespace subquad {

struct ForecastPicture {
  std::string id, model, note = {};            // note: what was fitted, or why something else was
  std::vector<double> history;                 // the shown end of it; NaN: missing
  std::vector<std::string> stamps;             // of history, then of the steps
  std::vector<double> levels;                  // ascending
  std::vector<double> mean;                    // by step
  std::vector<std::vector<double>> quantiles;  // [level][step]
  std::vector<double> actual = {};             // by step; empty: not known
  std::vector<std::size_t> marked = {};        // steps whose actual value is drawn as a dot
  std::string colour =
      {};              // of the forecast; what came is then in that of the text. Empty: the page's
  bool hover = false;  // every step says its numbers
  double y_low = 0, y_high = 0;  // equal: from the data
};

// As in a page: needs the page's style.
std::string forecast_chart(const ForecastPicture& picture);
// A whole SVG file.
std::string forecast_svg(const ForecastPicture& picture);
// One self-contained HTML page; `notes` stand above the pictures.
std::string forecast_page(const std::string& title, const std::vector<ForecastPicture>& pictures,
                          const std::vector<std::string>& notes);
// One line of block characters, lowest to highest of the values; a missing one is a blank.
std::string sparkline(const std::vector<double>& values);

}  // namespace subquad
