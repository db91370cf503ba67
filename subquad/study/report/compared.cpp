// What was compared: arms in words and as stacks of layers, their sizes, what differs.
#include <algorithm>
#include <map>
#include <set>

#include "subquad/study/findings.h"
#include "subquad/study/format.h"
#include "subquad/study/report/sections.h"

namespace subquad::report {
namespace {

struct ArmWords {
  const char *arm, *words;
};
const ArmWords kArms[] = {
    {"ngram", "bytes counted, five at a time, on the whole training split; nothing is trained"},
    {"attention", "causal softmax attention; remembers every key and value, so its state grows"},
    {"mlstm", "mLSTM (xLSTM[1:0]): a matrix memory per head with exponential input gate"},
    {"slstm", "sLSTM: scalar memories that feed back into their own gates, step by step"},
    {"xlstm[1:1]", "mLSTM and sLSTM blocks in turn"},
    {"mamba2", "Mamba-2: a matrix memory per head that fades by one input-dependent factor"},
    {"mamba2[-1,1]", "Mamba-2 whose factor may be negative"},
    {"gated_deltanet", "Gated DeltaNet: fades, and erases what a key held before writing to it"},
    {"gated_deltanet[-1,1]", "the same, its erasing may overshoot and flip a sign"},
    {"kda", "Gated DeltaNet whose every key channel fades by a factor of its own"},
    {"latent_attention", "softmax attention whose heads read one small vector per position"},
};

const Json* sizes_of(const View& view, const std::string& task, const std::string& arm) {
  const Json* arms = view.task(task).find("arms");
  return arms ? arms->find(arm) : nullptr;
}

// Blocks from input to output.
std::string stack(const View& view, const std::string& task, const std::string& arm) {
  std::string h = "<div class='stack'><p>" + arm_label(view, arm) + "</p>";
  for (const ArmWords& a : kArms) {
    if (arm == a.arm) h += note(html_escape(a.words));
  }
  const Json* a = sizes_of(view, task, arm);
  if (a) {
    const Json& model = a->at("model");
    h += "<ol style='border-color:" + html_escape(view.style(arm).colour) +
         "'><li>embedding, width " + model.at("d_model").dump() + "</li>";
    for (const Json& layer : model.at("layers").as_array())
      h += "<li><b>" + html_escape(layer.as_string()) + "</b> + MLP " +
           model.at("mlp_hidden").dump() + "</li>";
    h += "<li>norm, output</li></ol>";
  }
  return h + "</div>";
}

std::string size_rows(const View& view, const std::string& task, bool name_task) {
  std::string rows;
  for (const std::string& arm : view.arms) {
    const Json* a = sizes_of(view, task, arm);
    if (!a) continue;
    std::string layers;
    for (const Json& l : a->at("model").at("layers").as_array())
      layers += (layers.empty() ? "" : ", ") + l.as_string();
    std::vector<std::string> row = {arm_label(view, arm), html_escape(layers),
                                    a->at("parameters").dump(),
                                    a->at("model").at("mlp_hidden").dump(),
                                    short_number(2 * a->at("training_macs_per_token").as_double())};
    if (name_task) row.insert(row.begin(), html_escape(task));
    for (const auto& [depth, bytes] : a->at("state_bytes").as_object())
      row.push_back(short_number(bytes.as_double()));
    rows += table_row(row);
    const std::string words = a->get("note", "");
    if (!words.empty()) rows += "<tr><td></td><td colspan='8'>" + html_escape(words) + "</td></tr>";
  }
  return rows;
}

void flatten(const Json& value, const std::string& path,
             std::vector<std::pair<std::string, std::string>>& out) {
  if (value.is_object()) {
    for (const auto& [key, inner] : value.as_object())
      flatten(inner, path.empty() ? key : path + "." + key, out);
  } else {
    out.emplace_back(path, value.is_string() ? value.as_string() : value.dump());
  }
}

// Fields of the models' configurations that are not the same for all arms.
std::string differences(const View& view, const std::string& task) {
  std::vector<std::string> order, arms;
  std::map<std::string, std::map<std::string, std::string>> by_path;
  for (const std::string& arm : view.arms) {
    const Json* a = sizes_of(view, task, arm);
    if (!a) continue;
    arms.push_back(arm);
    std::vector<std::pair<std::string, std::string>> fields;
    flatten(a->at("model"), "", fields);
    for (const auto& [path, value] : fields) {
      if (!by_path.contains(path)) order.push_back(path);
      by_path[path][arm] = value;
    }
  }
  std::string rows, equal;
  for (const std::string& path : order) {
    std::set<std::string> values;
    for (const std::string& arm : arms) values.insert(by_path[path][arm]);
    if (values.size() == 1 && arms.size() > 1) {
      equal += (equal.empty() ? "" : ", ") + path + " " + *values.begin();
      continue;
    }
    std::vector<std::string> row = {code(path)};
    for (const std::string& arm : arms)
      row.push_back(by_path[path][arm].empty() ? "-" : html_escape(by_path[path][arm]));
    rows += table_row(row);
  }
  std::vector<std::string> head = {"differs"};
  for (const std::string& arm : arms) head.push_back(html_escape(arm));
  return (rows.empty() ? "<p>No field differs.</p>" : table(head, rows)) +
         note("Equal for all arms: " + html_escape(equal) + ".");
}

std::string declared_note(const View& view) {
  std::string h;
  const Json& plan = view.results.at("plan");
  if (plan.at("model").get("recipe", "default") == "default")
    h = note(
        "Declared difference: short convolutions are as each architecture publishes them "
        "(mLSTM, Mamba-2 and Gated DeltaNet have one of width 4, attention and sLSTM none). "
        "The recipe \"uniform\" gives every linear arm the same one.");
  const Json* protocol = plan.find("protocol");
  const Json* declared = protocol ? protocol->find("declared_differences") : nullptr;
  if (declared && declared->size() > 0) {
    std::string list;
    for (const Json& d : declared->as_array()) list += " " + code(d.as_string());
    h += note("Declared in the protocol:" + list);
  }
  return h;
}

}  // namespace

const char* matched_words(const std::string& match) {
  if (match == "flops") return "training FLOPs per token within 1 %";
  if (match == "time") return "measured time per training token within 3 %";
  if (match == "state") return "state bytes of a sequence within 5 % and parameters within 1 %";
  return "parameters within 1 %";
}

std::string compared_section(const View& view) {
  const std::string task = cost_task(view.results, view.timings);
  const std::string match = view.results.at("plan").at("model").at("match").as_string();
  std::string h = "<p>Equal for all arms: " + std::string(matched_words(match)) +
                  " (<code>match = \"" + html_escape(match) +
                  "\"</code>), training tokens, data and their order, schedule, width and depth. "
                  "Different by design: the mixer, and " +
                  (match == "state" ? "its key and value sizes, and " : "") +
                  "the MLP width that pays for the mixer's size.</p><div class='stacks'>";
  for (const std::string& arm : view.arms) h += stack(view, task, arm);
  h += "</div>";
  const std::vector<std::string> head = {
      "arm", "layers", "parameters", "MLP width", "training FLOPs per token", "state bytes @64",
      "@1k", "@16k",   "@64k"};
  h += table(head, size_rows(view, task, false), "second") +
       note("Models of the task " + html_escape(task) +
            ". State: bytes that one sequence keeps, in f32, after so many tokens. FLOPs are "
            "counted per operator from the recurrent form, two for a multiply-add, never as 6ND; "
            "a training step counts three forward passes.");
  if (view.tasks.size() > 1) {
    std::string rows;
    for (const std::string& t : view.tasks) rows += size_rows(view, t, true);
    std::vector<std::string> with_task = head;
    with_task.insert(with_task.begin(), "task");
    h += details("The same for every task", table(with_task, rows, "second third"));
  }
  h += details("Fields of the configurations that differ", differences(view, task));
  return h + declared_note(view);
}

}  // namespace subquad::report
