// Compares the tape's gradients with central differences in f64.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "subquad/autograd/tape.h"

namespace subquad {

struct GradcheckSetup {
  ParameterStore* store = nullptr;  // all its parameters are checked; null: none
  std::vector<Tensor> inputs;       // leaves
  // Builds outputs from the leaves; the loss is their fixed random projection.
  std::function<std::vector<Var>(Context&, const std::vector<Var>&)> build;
  double bound = 2e-7;  // relative to the largest gradient of the same tensor
  int probes = 6;       // elements checked per tensor (all if it has fewer)
};

// Reports every tensor whose gradient deviates through GoogleTest.
void gradcheck(const KernelTable& kernels, const GradcheckSetup& setup, const std::string& what);

// Random normal values in f64, a pure function of (stream, shape).
Tensor random_f64(Shape shape, std::uint64_t stream, double amplitude = 1);

}  // namespace subquad
