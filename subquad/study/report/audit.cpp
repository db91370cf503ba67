#include <map>

#include "subquad/study/format.h"
#include "subquad/study/report/sections.h"

namespace subquad::report {
namespace {

std::string light_badge(const std::string& light) {
  const char* style = light == "PASS"   ? "good"
                      : light == "WARN" ? "open"
                      : light == "FAIL" ? "bad"
                                        : "none";
  return std::string("<span class='badge ") + style + "'>" + html_escape(light) + "</span>";
}

std::string check_row(const Json& check) {
  std::string runs;
  for (const Json& run : check.at("runs").as_array()) runs += " " + run.as_string();
  const std::size_t count = check.at("runs").size();
  if (count > 0)
    runs = count > 6 ? details(format("%zu runs", count), code(runs)) : "<br>" + code(runs);
  return table_row({html_escape(check.at("id").as_string()),
                    light_badge(check.at("light").as_string()),
                    html_escape(check.at("title").as_string()),
                    html_escape(check.at("numbers").as_string()) + runs});
}

}  // namespace

std::string audit_section(const View& view) {
  const Json& audit = view.in.audit;
  if (audit.is_null())
    return "<p>Not audited yet: <code>subquad audit</code> of this folder asks 44 questions of "
           "fairness and puts the answers here.</p>";
  std::map<std::string, int> counts;
  std::map<std::string, std::string> rows;
  for (const Json& c : audit.at("checks").as_array()) {
    const std::string& light = c.at("light").as_string();
    ++counts[light];
    rows[light] += check_row(c);
  }
  const bool claim = view.results.at("plan").get("level", "look") == "claim";
  std::string h = "<p>";
  for (const char* light : {"PASS", "WARN", "FAIL", "N.A."})
    h += light_badge(light) + format(" %d &nbsp; ", counts[light]);
  h += std::string("<br>") +
       (counts["FAIL"] == 0 ? "No check fails."
        : claim             ? "The claim fails its audit."
                            : "A look is shown as it is; as a claim it would fail.") +
       " Every check has its numbers, and the runs they are about.</p>";
  const std::string shown = rows["FAIL"] + rows["WARN"];
  if (!shown.empty()) h += table({"", "", "check", "numbers and runs"}, shown, "facts checks");
  h += details(
      format("The %d checks that pass or do not apply", counts["PASS"] + counts["N.A."]),
      table({"", "", "check", "numbers and runs"}, rows["PASS"] + rows["N.A."], "facts checks"));
  return h;
}

}  // namespace subquad::report
