// The page: sections in order, each with its heading; style for screens, dark ones, small ones and
// paper.
#include <filesystem>

#include "subquad/base/file.h"
#include "subquad/base/text.h"
#include "subquad/study/findings.h"
#include "subquad/study/format.h"
#include "subquad/study/report/sections.h"

namespace subquad {
namespace report {
namespace {

const char* kStyle = R"(
:root{color-scheme:light dark;--bg:#fff;--fg:#1b1f24;--soft:#5b6470;--line:#d9dee4;--panel:#f6f8fa;--accent:#0b62a8;--good:#12805c;--bad:#b3261e;--open:#7a5c00}
@media (prefers-color-scheme:dark){:root{--bg:#14171b;--fg:#e6e9ed;--soft:#9aa4b0;--line:#333a43;--panel:#1c2127;--accent:#6cb6ff;--good:#4ccf9b;--bad:#ff8a80;--open:#e3c05a}}
*{box-sizing:border-box}html{scroll-behavior:smooth}body{margin:0 auto;max-width:1080px;padding:24px 18px 60px;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif}
h1{font-size:1.55rem;margin:0 0 4px}h2{font-size:1.2rem;margin:40px 0 8px;border-bottom:1px solid var(--line);padding-bottom:4px}h3{font-size:1rem;margin:20px 0 6px}
p,li{max-width:78ch}.note{color:var(--soft);font-size:.92em}a{color:var(--accent)}.lead{font-size:1.1rem;margin:4px 0}
nav{margin:10px 0 0;font-size:.92em}nav a{margin-right:12px;white-space:nowrap;display:inline-block}
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.93em;margin:8px 0}
th,td{padding:4px 8px;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}thead th{white-space:normal;vertical-align:bottom;min-width:4.5em;max-width:11em}th:first-child,td:first-child,.second td:nth-child(2),.second th:nth-child(2),.third td:nth-child(3),.third th:nth-child(3),td[colspan]{text-align:left}
thead small{white-space:nowrap;font-weight:400}thead th{color:var(--soft);font-weight:600;border-bottom:2px solid var(--line)}
.cards,.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,430px),1fr));gap:14px;align-items:start}
.card{border:1px solid var(--line);border-radius:10px;padding:12px 14px 8px;background:var(--bg)}.card h3{margin:0 0 6px}.card p{margin:6px 0}.card figure{border:0;padding:4px 0;background:none}.answer{font-weight:600}
.badge{display:inline-block;font-size:.74rem;font-weight:700;line-height:1.5;padding:0 7px;border-radius:9px;border:1px solid currentColor;color:var(--soft);white-space:nowrap;vertical-align:1px}
.badge.good{color:var(--good)}.badge.bad,.bad{color:var(--bad)}.badge.open{color:var(--open)}.solved{color:var(--good);font-weight:700}.soft{color:var(--soft)}
figure{margin:0;background:var(--panel);border:1px solid var(--line);border-radius:8px;padding:8px}figcaption{display:flex;justify-content:flex-end;gap:10px;font-size:.82em}figcaption span{color:var(--soft);margin-right:auto}
figure svg{width:100%;height:auto;display:block}svg text{fill:var(--fg);font:11px system-ui,sans-serif}svg .title{font-weight:600;font-size:12px}svg .name{font-size:11px}
svg .tick,svg .label{fill:var(--soft)}.halo{paint-order:stroke;stroke:var(--panel);stroke-width:4px}.card .halo{stroke:var(--bg)}.grid{stroke:var(--line)}.chance{stroke:var(--soft);stroke-dasharray:4 4}.middle{stroke:var(--fg);stroke-width:1.6}
svg .none{fill:none;stroke:var(--line)}svg .frame{fill:none;stroke:var(--fg);stroke-width:1.5}svg text.light{fill:#fff;text-anchor:middle;font-size:10px}svg text.dark{fill:#111;text-anchor:middle;font-size:10px}
.legend{max-width:none}.arm{display:inline-block;white-space:nowrap;margin-right:10px}td .arm{margin:0}.arm .mark{display:inline-block;width:12px;height:12px;margin-right:5px;vertical-align:-1px}
.stacks{display:grid;grid-template-columns:repeat(auto-fill,minmax(200px,1fr));gap:14px}.stack p{margin:0 0 4px}.stack .note{font-size:.82em;min-height:3.9em}.stack ol{list-style:none;margin:0;padding:0 0 0 8px;border-left:3px solid}.stack li{white-space:nowrap;overflow:hidden;text-overflow:ellipsis;border:1px solid var(--line);border-radius:5px;background:var(--panel);padding:1px 7px;margin:3px 0;font-size:.8em;text-align:center}
code,pre{background:var(--panel);border-radius:5px;padding:1px 4px;font-size:.9em}pre{padding:10px;overflow-x:auto;border:1px solid var(--line)}
.facts td,.facts th{white-space:normal;text-align:left;vertical-align:top}.facts td:nth-child(2){white-space:nowrap}.checks td:nth-child(3){min-width:15em}.facts code{overflow-wrap:anywhere;white-space:normal}
details{margin:6px 0}summary{cursor:pointer;color:var(--accent);font-size:.92em}.panel{margin-bottom:10px}
.switch:has(#x-tokens:checked) .panel:not(.by-tokens),.switch:has(#x-FLOPs:checked) .panel:not(.by-FLOPs),.switch:has(#x-seconds:checked) .panel:not(.by-seconds){display:none}
@media (max-width:560px){body{padding:16px 12px 40px}svg text,svg .title,svg .name{font-size:13px}svg text.light,svg text.dark{font-size:11px}figure{padding:6px 2px}.card{padding:10px}
.wide:not(:has(.facts))::before{content:"wide table: swipe sideways";color:var(--soft);font-size:.8em}th:first-child,td:first-child{position:sticky;left:0;background:var(--bg)}.facts td:nth-child(2){white-space:normal}}
@page{margin:14mm 12mm}
@media print{:root{--bg:#fff;--fg:#000;--soft:#444;--line:#ccc;--panel:#fff;--accent:#000;--good:#0a6b4b;--bad:#9c1c15;--open:#6a5000;color-scheme:light}body{max-width:none;padding:0;font-size:10.5px}
.wide,pre{overflow:visible}pre,code{white-space:pre-wrap;overflow-wrap:anywhere}th,td{padding:2px 5px}p,li{max-width:none}figure,tr,li,.legend,.card{break-inside:avoid}h2,h3,thead,.legend,summary{break-after:avoid}
.cards,.charts{grid-template-columns:1fr 1fr}.csv,nav,.switch>.note{display:none}svg,.stack li{print-color-adjust:exact;-webkit-print-color-adjust:exact}details::details-content{content-visibility:visible;block-size:auto}}
)";

struct Section {
  const char *id, *title;
  std::string (*write)(const View&);
};
const Section kSections[] = {{"short", "In short", short_section},
                             {"numbers", "The numbers at a glance", overview_section},
                             {"audit", "Fairness audit", audit_section},
                             {"compared", "What was compared", compared_section},
                             {"protocol", "Protocol and ledger", protocol_section},
                             {"tuning", "Tuning", tuning_section},
                             {"quality", "Quality", quality_section},
                             {"length", "Length generalisation", length_section},
                             {"published", "Beside published numbers", published_section},
                             {"forecasts", "Zero-shot forecasts", forecast_section},
                             {"costs", "Costs", cost_section},
                             {"negative", "Negative and null results", negative_section},
                             {"data", "Data", data_section},
                             {"limits", "Limits", limits_section},
                             {"reproduce", "Reproduce", reproduce_section}};

// One damaged section never takes the others with it.
std::string body_of(const Section& section, const View& view) {
  try {
    return section.write(view);
  } catch (const std::exception& e) {
    return "<p class='bad'>This section could not be written: " + html_escape(e.what()) + "</p>";
  }
}

std::string audit_words(const Json& audit) {
  if (audit.is_null()) return "not audited";
  std::map<std::string, int> counts;
  for (const Json& c : audit.at("checks").as_array()) ++counts[c.get("light", "")];
  return format("audit: %d pass, %d warn, %d fail", counts["PASS"], counts["WARN"], counts["FAIL"]);
}

std::string header(const View& view, const std::vector<const Section*>& shown) {
  const Json& plan = view.results.at("plan");
  std::string h = "<h1>Study " + html_escape(plan.get("name", "")) + "</h1><p class='lead'>" +
                  html_escape(plan.get("question", "")) + "</p>";
  std::string audit = "audit not readable";
  try {
    audit = audit_words(view.in.audit);
  } catch (const Error&) {  // the section says why
  }
  h += note(format("%zu arms, %s; %zu runs finished, %zu failed. ", view.arms.size(),
                   count_of(std::ssize(view.tasks), "task"), view.results.at("runs").size(),
                   view.results.at("failed").size()) +
            html_escape(standing(view.results)) + "; <a href='#audit'>" + audit + "</a>; " +
            (view.in.protocol.is_null()
                 ? "no frozen protocol"
                 : "protocol " + code(view.in.protocol.get("sha256", "").substr(0, 12))) +
            ", plan " + code(view.results.get("plan_sha256", "").substr(0, 12)) + ".");
  h += "<nav>";
  for (const Section* s : shown) h += std::string("<a href='#") + s->id + "'>" + s->title + "</a> ";
  return h + "</nav>";
}

Json read_if_there(const std::string& path) {
  return std::filesystem::exists(path) ? Json::read(path) : Json();
}

}  // namespace
}  // namespace report

ReportInput read_report_input(const std::string& folder) {
  require(std::filesystem::exists(folder + "/results.json"), ErrorCode::io, folder,
          " holds no results.json: it is not a study folder, or no seed is complete yet");
  ReportInput in;
  in.results = Json::read(folder + "/results.json");
  in.timings = report::read_if_there(folder + "/timings.json");
  in.provenance = report::read_if_there(folder + "/provenance.json");
  in.audit = report::read_if_there(folder + "/audit.json");
  in.protocol = report::read_if_there(folder + "/plan.protocol.json");
  if (std::filesystem::exists(folder + "/published.toml"))
    in.published = read_file(folder + "/published.toml");
  if (std::filesystem::exists(folder + "/ledger.jsonl"))
    in.ledger = check_ledger(folder + "/ledger.jsonl");
  if (in.timings.is_null()) in.timings["runs"] = Json::object();
  return in;
}

std::string html_report(const ReportInput& in) {
  const report::View view(in);
  const std::string name = in.results.at("plan").get("name", "");
  std::vector<const report::Section*> shown;
  std::string sections;
  for (const report::Section& s : report::kSections) {
    const std::string body = report::body_of(s, view);
    if (body.empty()) continue;  // nothing of its kind in this study
    shown.push_back(&s);
    sections += format("<section id='%s'><h2>%s</h2>", s.id, s.title) + body + "</section>";
  }
  const std::string head =
      "<!doctype html><html lang='en'><head><meta charset='utf-8'><meta name='viewport' "
      "content='width=device-width,initial-scale=1'><title>subquad study " +
      html_escape(name) + "</title><style>" + report::kStyle + "</style></head><body>" +
      report::header(view, shown);
  return head + sections + "</body></html>\n";
}

}  // namespace subquad
