// The subcommands, one file each. A new one: its file, a declaration here, a line in main.cpp.
#pragma once

#include <span>
#include <string>

namespace subquad::app {

using Arguments = std::span<const std::string>;

int compare(Arguments arguments);
int train(Arguments arguments);
int info(Arguments arguments);
int tasks(Arguments arguments);
int verify(Arguments arguments);
int report(Arguments arguments);
int diff(Arguments arguments);
int generate(Arguments arguments);
int evaluate(Arguments arguments);
int convert(Arguments arguments);
int quantize(Arguments arguments);
int bench(Arguments arguments);
int protocol(Arguments arguments);
int audit(Arguments arguments);
int tokenizer(Arguments arguments);
int forecast(Arguments arguments);
int backtest(Arguments arguments);
int anomalies(Arguments arguments);
int series(Arguments arguments);

}  // namespace subquad::app
