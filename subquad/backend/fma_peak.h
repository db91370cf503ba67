// What the arithmetic units of one core can do, measured: the yardstick of `subquad bench`.
#pragma once

namespace subquad {

// Best of several short runs of independent f32 multiply-adds in the widest registers.
// Units: FLOP per second of one thread, two per multiply-add. Takes about 20 ms.
double measure_fma_peak();

}  // namespace subquad
