#include "tests/property/counting.h"

namespace subquad {
namespace {

template <class Args>
void run_plain(const Args& args, ThreadPool& threads) {
  static const KernelTable plain = all_kernels();
  plain.run(args, threads);
}

void count(const LinearCoreForward<float>& a, ThreadPool& threads) {
  CountedViews copy;
  LinearCoreForward<Counted> c;
  c.q = copy(a.q), c.k = copy(a.k), c.v = copy(a.v), c.decay = copy(a.decay);
  c.write = copy(a.write), c.erase = copy(a.erase), c.S_initial = copy(a.S_initial);
  c.n_initial = copy(a.n_initial), c.m_initial = copy(a.m_initial);
  c.spans = a.spans, c.options = a.options, c.o = copy(a.o);
  linear_core_reference::forward(c, threads);
}

void count(const SlstmForward<float>& a, ThreadPool& threads) {
  CountedViews copy;
  SlstmForward<Counted> c;
  c.x = copy(a.x), c.R = copy(a.R), c.b = copy(a.b), c.h_initial = copy(a.h_initial);
  c.c_initial = copy(a.c_initial), c.n_initial = copy(a.n_initial);
  c.m_initial = copy(a.m_initial), c.spans = a.spans;
  c.exponential_forget = a.exponential_forget, c.h = copy(a.h);
  slstm_core_reference::forward(c, threads);
}

void count(const AttentionForward<float>& a, ThreadPool& threads) {
  CountedViews copy;
  AttentionForward<Counted> c;
  c.q = copy(a.q), c.k = copy(a.k), c.v = copy(a.v), c.spans = a.spans;
  c.scale = a.scale, c.window = a.window, c.o = copy(a.o), c.lse = copy(a.lse);
  attention_core_reference::forward(c, threads);
}

void count(const LinearForward<float>& a, ThreadPool&) {
  for (const LinearPart<float>& p : a.parts)
    Counted::multiplications += p.x.dim(0) * p.w.dim(0) * p.w.dim(1);
}

void count(const ConvForward<float>& a, ThreadPool&) {
  Counted::multiplications += a.x.dim(0) * a.x.dim(1) * a.w.dim(0) * a.w.dim(1);
}

template <class Args>
void add(KernelTable& table) {
  table.add(Impl<Args>{"counting", nullptr, [](const Args& args, ThreadPool& threads) {
                         run_plain(args, threads);
                         count(args, threads);
                       }});
}

}  // namespace

KernelTable counting_kernels() {
  KernelTable table;
  add<LinearCoreForward<float>>(table);
  add<SlstmForward<float>>(table);
  add<AttentionForward<float>>(table);
  add<LinearForward<float>>(table);
  add<ConvForward<float>>(table);
  add_op_kernels(table);
  return table;
}

}  // namespace subquad
