// What the trials of a tuned arm say: how its loss depends on the learning rate, and how much of a
// tuning budget it needs.
#pragma once

#include <map>
#include <vector>

#include "subquad/io/json.h"

namespace subquad {

// Loss of a trial of results.json's "tuning"; infinite if it diverged.
double trial_loss(const Json& trial);
// Best loss at every learning rate; trials that diverged are infinite.
std::map<double, double> loss_by_rate(const std::vector<const Json*>& trials);
// Octaves of learning rate whose loss is at most 1 % above the best, over the rates tried: the
// larger, the less tuning matters. 0 if only the best rate is that good, or none converged.
double width_in_octaves(const std::map<double, double>& losses);
// Expected least loss of n draws with replacement out of these. Source: Dodge et al. 2019.
double expected_best(std::vector<double> losses, int n);

}  // namespace subquad
